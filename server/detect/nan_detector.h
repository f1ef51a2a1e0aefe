#pragma once

// Finds the first step at which a loss or gradient norm is not finite.
//
// Called for every step row, so the search is one pass over two columns of
// contiguous floats, without a branch a value. AbsentValue() is a NaN too,
// but means "not reported" and is no finding.
//
// The culprit is the rank whose own value is bad while others' are good:
// after the gradient all-reduce every replica is NaN, so the loss, which is
// local in data-parallel training, is asked first. Bad on more than half of
// the ranks: unknown, and the finding says so.
//
// With dynamic loss scaling (a loss scale is reported) a non-finite gradient
// norm with finite losses is a step the optimizer skips; up to overflow_steps
// in a row are let pass.

#include <cstdint>
#include <optional>
#include <span>

#include "base/clock.h"
#include "server/detect/options.h"
#include "server/detect/watched_attempt.h"
#include "server/model/step_row.h"

namespace steadyrun {

class NanDetector {
 public:
  explicit NanDetector(const NanOptions& options) : options_(options) {}

  void Begin(const WatchedAttempt& attempt);

  // A finding for the first bad step of the attempt, and again only if an
  // earlier bad step comes to light (rows may close out of order).
  std::optional<Finding> Observe(const StepRow& row, Now now);

 private:
  bool IsSkippedStep(const StepRow& row);
  Finding Describe(const StepRow& row, bool is_loss,
                   std::span<const float> values, Now now) const;

  NanOptions options_;
  WatchedAttempt attempt_;
  std::optional<Step> first_;
  std::int32_t overflows_ = 0;  // Steps in a row, up to overflow_last_.
  Step overflow_last_ = kNoStep;
};

// Any value that is NaN or infinite and not AbsentValue().
bool HasNonFinite(std::span<const float> values);

}  // namespace steadyrun
