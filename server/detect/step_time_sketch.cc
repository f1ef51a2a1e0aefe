#include "server/detect/step_time_sketch.h"

#include <algorithm>
#include <cmath>

namespace steadyrun {
namespace {

constexpr double kSmallest = 1e-3;  // Seconds; upper edge of bin 0.
constexpr double kGrowth = 1.12;    // Width of a bin.

std::uint8_t BinOf(double seconds) {
  if (seconds <= kSmallest) return 0;
  static const double log_growth = std::log(kGrowth);
  const double bin = std::ceil(std::log(seconds / kSmallest) / log_growth);
  return static_cast<std::uint8_t>(
      std::clamp(bin, 0.0, static_cast<double>(StepTimeSketch::kBins - 1)));
}

}  // namespace

void StepTimeSketch::Add(double seconds) {
  if (!std::isfinite(seconds) || seconds <= 0) return;
  if (size_ == kWindow) {
    --counts_[window_[next_]];
  } else {
    ++size_;
  }
  const std::uint8_t bin = BinOf(seconds);
  window_[next_] = bin;
  ++counts_[bin];
  next_ = (next_ + 1) % kWindow;
}

double StepTimeSketch::Quantile(double q) const {
  if (size_ == 0) return 0;
  // Nearest rank, rounded up: with 500 steps q99.9 is the longest of them.
  const auto wanted = static_cast<std::size_t>(std::max(
      1.0, std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(size_))));
  std::size_t seen = 0;
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    seen += counts_[bin];
    if (seen >= wanted) {
      return kSmallest * std::pow(kGrowth, static_cast<double>(bin));
    }
  }
  return kSmallest * std::pow(kGrowth, static_cast<double>(kBins - 1));
}

void StepTimeSketch::Clear() { *this = StepTimeSketch(); }

}  // namespace steadyrun
