#include "base/fast_median.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace steadyrun {
namespace {

constexpr std::size_t kSample = 1024;
// Below this the sample costs more than it saves.
constexpr std::size_t kSmall = 4096;
// Places of the sample on either side of its middle: three standard deviations
// of the rank of a sample's median, sqrt(1024) / 2 = 16, and the bracket is
// missed about three times in 1,000.
constexpr std::size_t kReach = 48;

// The mean of the elements `lower` and `upper` (equal, or neighbours) of the
// sorted values. Reorders.
float MeanOfMiddle(std::vector<float>& values, std::size_t lower,
                   std::size_t upper) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(upper);
  std::nth_element(values.begin(), middle, values.end());
  if (lower == upper) return *middle;
  // In double: the sum of two large floats may overflow.
  const double sum =
      static_cast<double>(*middle) + *std::max_element(values.begin(), middle);
  return static_cast<float>(sum / 2);
}

struct Bracket {
  float low;
  float high;
};

Bracket FindBracket(std::span<const float> values, MedianScratch* scratch) {
  std::vector<float>& sample = scratch->sample;
  sample.resize(kSample);
  const std::size_t stride = values.size() / kSample;
  for (std::size_t i = 0; i < kSample; ++i) sample[i] = values[i * stride];
  const auto low =
      sample.begin() + static_cast<std::ptrdiff_t>(kSample / 2 - kReach);
  const auto high =
      sample.begin() + static_cast<std::ptrdiff_t>(kSample / 2 + kReach);
  std::nth_element(sample.begin(), low, sample.end());
  // Not from `low` on: that would move it.
  std::nth_element(low + 1, high, sample.end());
  return {*low, *high};
}

}  // namespace

float FastMedian(std::span<const float> values, MedianScratch* scratch) {
  const std::size_t n = values.size();
  if (n == 0) return 0;
  const std::size_t upper = n / 2;
  const std::size_t lower = (n - 1) / 2;
  std::vector<float>& kept = scratch->kept;
  if (n >= kSmall) {
    const Bracket bracket = FindBracket(values, scratch);
    kept.resize(n + 1);
    std::size_t below = 0;
    std::size_t inside = 0;
    // Without a branch a value: each is written, the place advances if it
    // belongs there.
    for (const float value : values) {
      kept[inside] = value;
      inside += static_cast<std::size_t>(value >= bracket.low) &
                static_cast<std::size_t>(value <= bracket.high);
      below += static_cast<std::size_t>(value < bracket.low);
    }
    if (lower >= below && upper < below + inside) {
      kept.resize(inside);
      return MeanOfMiddle(kept, lower - below, upper - below);
    }
  }
  kept.assign(values.begin(), values.end());
  return MeanOfMiddle(kept, lower, upper);
}

float FastMad(std::span<const float> values, float center,
              MedianScratch* scratch) {
  std::vector<float>& deviations = scratch->deviations;
  deviations.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    deviations[i] = std::abs(values[i] - center);
  }
  return 1.4826f * FastMedian(deviations, scratch);
}

}  // namespace steadyrun
