#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/policy/policy.h"

namespace steadyrun {

// TOML text to a policy; what the text leaves out keeps its default. `file` is
// for messages only. INVALID_ARGUMENT lists every mistake, one a line, as
//   policy.toml:5:1: unknown key 'detect.hang.timout' (did you mean 'timeout'?)
// Text over 256 KiB is refused.
absl::StatusOr<Policy> ParsePolicy(std::string_view text, std::string file);

}  // namespace steadyrun
