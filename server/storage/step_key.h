#pragma once

#include <cstdint>

namespace steadyrun {

// The key of a step or bucket within its table: all of one attempt are
// neighbours, in order. Attempts are numbered over all runs (attempts.id).
inline constexpr int kStepBits = 40;
inline constexpr std::int64_t kMaxStoredStep = (std::int64_t{1} << 40) - 1;
inline constexpr std::int64_t kMaxAttempts = std::int64_t{1} << 22;

constexpr std::int64_t StepKey(std::int64_t attempt_id, std::int64_t step) {
  return (attempt_id << kStepBits) | step;
}
constexpr std::int64_t StepOfKey(std::int64_t key) {
  return key & kMaxStoredStep;
}

}  // namespace steadyrun
