#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"

namespace steadyrun {

// Runs words[0] with its arguments, never through a shell, with `variables`
// ("NAME=value") added to the environment and `input` on its standard input,
// which is cut at kMaxInput. Its output is thrown away; it has a process group
// of its own, which is killed after `timeout`. UNAVAILABLE: cannot run, or
// ended with a code other than 0; DEADLINE_EXCEEDED: was killed.
absl::Status RunProgram(const std::vector<std::string>& words,
                        const std::vector<std::string>& variables,
                        Duration timeout, const std::string& input = "");
// What a pipe takes without anybody reading it.
inline constexpr std::size_t kMaxInput = 60 << 10;

}  // namespace steadyrun
