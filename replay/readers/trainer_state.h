#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "replay/trace.h"

namespace steadyrun::replay {

// A trace from the trainer_state.json of Hugging Face's Trainer: the entries
// of `log_history`, each a step; evaluations complete the step they stand at.
// NaN and Infinity, which Python writes though JSON has no word for them, are
// values. INVALID_ARGUMENT as "FILE:LINE:COLUMN: what is wrong".
absl::StatusOr<Trace> ReadTrainerState(std::string_view text,
                                       const std::string& file);

}  // namespace steadyrun::replay
