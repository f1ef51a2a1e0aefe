#include "server/detect/curve/step_line.h"

#include <algorithm>

namespace steadyrun {

StepLine::Place StepLine::Add(Step step) {
  if (newest_ == kNoStep || step > newest_) {
    if (newest_ != kNoStep) Measure(step.value - newest_.value);
    newest_ = step;
    lates_ = 0;
    ++points_;
    return Place::kNext;
  }
  const bool is_far = newest_.value - step.value >= kFarBack * stride_;
  lates_ = lates_ > 0 && step > late_ ? lates_ + 1 : 1;
  late_ = step;
  if (!is_far && lates_ < kLateInARow) return Place::kLate;
  const std::int64_t stride = stride_;
  *this = StepLine();
  stride_ = stride;
  newest_ = step;
  points_ = 1;
  return Place::kRewound;
}

void StepLine::Measure(std::int64_t growth) {
  growths_[measured_++ % kGrowths] = growth;
  const std::size_t n = std::min(measured_, kGrowths);
  if (n < 3) return;
  std::array<std::int64_t, kGrowths> copy = growths_;
  const auto middle = copy.begin() + static_cast<std::ptrdiff_t>(n / 2);
  std::nth_element(copy.begin(), middle,
                   copy.begin() + static_cast<std::ptrdiff_t>(n));
  stride_ = std::max<std::int64_t>(1, *middle);
}

}  // namespace steadyrun
