#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "replay/score.h"

namespace steadyrun::replay {

// Labels from CSV with the columns start_step, end_step (empty: one step) and
// kind, and any of rank ("3", or "3;4;5" for a group), node, attempt,
// onset_seconds (on the recording's clock, from its first row) and evidence;
// further columns are ignored. Kinds are checked.
// INVALID_ARGUMENT as "FILE:LINE:COLUMN: what is wrong".
absl::StatusOr<std::vector<Label>> ReadLabels(std::string_view text,
                                              const std::string& file);

}  // namespace steadyrun::replay
