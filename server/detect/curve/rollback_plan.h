#pragma once

// What a malignant event asks for, given the ones before it.
//
// Model (the recipe of PaLM, and of OPT for what comes again):
//   first     go back to a checkpoint `below` points before the onset and
//             leave out the data from `lead` before the onset to the point of
//             the verdict, at least `skip` and at most `skip_max` after it;
//   second within `recur_within` points of the one before: it was not the
//             data. Go back, skip nothing, lower the learning rate: by 0.9
//             the first time a run needs it, by 2/3 from then on;
//   third     halt: a person must look.
// Within one attempt, an event that began before another was judged is the
// same one, seen by another detector or told again after a restart of the
// service.

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "server/detect/curve/options.h"
#include "server/model/finding.h"

namespace steadyrun {

// What has to be remembered of a run across its attempts. A plain value: read
// it out of one CurveWatch and hand it to another.
struct CurveHistory {
  std::int64_t chain = 0;  // Events so far, each within reach of the last.
  AttemptId last_attempt;  // Of the last event.
  Step last_onset = kNoStep;
  Step last_judged = kNoStep;
  std::int64_t reductions = 0;  // How often the learning rate was lowered.
  friend bool operator==(const CurveHistory&, const CurveHistory&) = default;
};

struct RollbackAnswer {
  Advice advice = Advice::kRollback;
  RollbackPlan plan;
  std::string why;  // A line of evidence.
};

class RollbackPlanner {
 public:
  explicit RollbackPlanner(const RollbackOptions& options)
      : options_(options) {}

  // A malignant event of `attempt` that began at `onset` is judged at `judged`.
  RollbackAnswer Malignant(AttemptId attempt, Step onset, Step judged,
                           std::int64_t stride);

  const CurveHistory& History() const { return history_; }
  void Restore(const CurveHistory& history) { history_ = history; }

 private:
  bool IsKnown(AttemptId attempt, Step onset) const;
  void Count(AttemptId attempt, Step onset, Step judged, std::int64_t stride);

  RollbackOptions options_;
  CurveHistory history_;
};

}  // namespace steadyrun
