#include "server/detect/speed/block_series.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/robust_stats.h"

namespace steadyrun {

void BlockSeries::Reset() {
  filled_ = 0;
  count_ = 0;
}

bool BlockSeries::Add(Step step, double value) {
  if (!std::isfinite(value) || value <= 0) return false;
  if (filled_ == 0) first_ = step;
  values_[filled_++] = value;
  if (filled_ < kBlock) return false;
  filled_ = 0;
  std::ranges::sort(values_);
  blocks_[count_ % kKept] = {values_[2], std::log(values_[3] / values_[1]),
                             first_};
  ++count_;
  return true;
}

double BlockSeries::MedianOf(std::uint64_t from, std::uint64_t count) const {
  std::vector<double> medians;
  medians.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    medians.push_back(blocks_[(from + i) % kKept].median);
  }
  return MedianInPlace(medians);
}

double BlockSeries::ErrorOf(std::uint64_t from, std::uint64_t count) const {
  // Of five normal values the 4th is 0.99 sigma above the 2nd (its median
  // 0.95), and the median has 0.536 sigma.
  constexpr double kSigmaPerSpread = 1 / 0.95;
  constexpr double kMedianPerSigma = 0.536;
  std::vector<double> logs;
  std::vector<double> spreads;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Block& block = blocks_[(from + i) % kKept];
    logs.push_back(std::log(block.median));
    spreads.push_back(block.spread);
  }
  const double center = MedianInPlace(logs);
  return std::max(MadInPlace(logs, center),
                  MedianInPlace(spreads) * kSigmaPerSpread * kMedianPerSigma);
}

double BlockSeries::Level() const {
  const std::uint64_t count = std::min<std::uint64_t>(count_, 2);
  return count == 0 ? 0 : MedianOf(count_ - count, count);
}

std::optional<double> BlockSeries::RatioSince(Step onset) const {
  std::uint64_t from = count_;
  const std::uint64_t oldest = count_ > kKept ? count_ - kKept : 0;
  while (from > oldest && FirstStepOf(from - 1) >= onset) --from;
  const std::uint64_t before = std::min(from - oldest, kMostBefore);
  if (from == count_ || before == 0) return std::nullopt;
  return MedianOf(from, count_ - from) / MedianOf(from - before, before);
}

}  // namespace steadyrun
