#pragma once

// What the words of a label file mean to a score: which kinds of incident
// find such a fault, which may accompany it, and how soon it must be found.

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/finding.h"

namespace steadyrun::replay {

// How long after its onset a fault may be found: `steps` of the run plus
// `seconds`. Both count; a window in steps alone has 0 seconds.
struct Window {
  double steps = 0;
  double seconds = 0;
};

struct LabelClass {
  // What the score's table calls it: the word of kinds.front(), or of the
  // label where it is no fault.
  std::string_view name;
  // A fault is to be found: missing it costs recall. Otherwise finding it is
  // neither right nor wrong (a single outlier, an unclear passage).
  bool is_fault = true;
  // A finding here is wrong like anywhere outside a label: a person looked and
  // found nothing the matter. Then the lists below are empty.
  bool is_healthy = false;
  std::vector<IncidentKind> kinds;    // Each of them finds it.
  std::vector<IncidentKind> related;  // Consequences: no false alarm, no find.
  Window window;
};

// Every word of an incident kind is a label, as are the words of hand-made
// label files (loss_explosion, grad_norm_explosion, rl_collapse, benign_*,
// healthy, ...). A word may carry a note: "straggler_last_stage (stage 3)" is
// a straggler. INVALID_ARGUMENT: none of them, with the nearest right word.
absl::StatusOr<LabelClass> ClassOfLabel(std::string_view word);

}  // namespace steadyrun::replay
