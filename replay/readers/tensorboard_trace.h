#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "replay/trace.h"

namespace steadyrun::replay {

// The file begins with a good record header: an event file of TensorBoard.
bool LooksLikeEventFile(std::string_view bytes);

// A trace from a TensorBoard event file: its scalars, by tag. Where no tag is
// a step time, it is taken from the wall times of neighbouring steps, and
// noted. A record that is torn or does not fit its check sum is left out, and
// noted. INVALID_ARGUMENT: no event file, or no scalar in it.
absl::StatusOr<Trace> ReadTensorBoardTrace(std::string_view bytes,
                                           const std::string& file);

}  // namespace steadyrun::replay
