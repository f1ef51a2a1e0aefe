#include "server/detect/curve/drift_test.h"

#include <algorithm>
#include <cmath>

#include "base/robust_stats.h"

namespace steadyrun {
namespace {

constexpr double kDelta = 1.25;
constexpr double kClip = 6;
// So that the end of a long excursion is seen within some 20 blocks.
constexpr double kMaxSum = 25;
// Fewer blocks have neither a level nor a scale.
constexpr std::int64_t kFirstLevel = 12;

}  // namespace

double MannKendall(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  if (values.size() < 4) return 0;
  double s = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    for (std::size_t j = i + 1; j < values.size(); ++j) {
      s += values[j] > values[i] ? 1 : values[j] < values[i] ? -1 : 0;
    }
  }
  const double variance = n * (n - 1) * (2 * n + 5) / 18;
  if (s == 0) return 0;
  return (s > 0 ? s - 1 : s + 1) / std::sqrt(variance);
}

DriftTest::DriftTest(const DriftOptions& options) : options_(options) {
  options_.block = std::min(options_.block, kMaxBlock);
  levels_.fill(HUGE_VAL);
}

void DriftTest::Reset() { *this = DriftTest(options_); }

double DriftTest::Value(std::size_t age) const {
  if (static_cast<std::int64_t>(age) >= blocks_) return 0;
  return ring_[(static_cast<std::size_t>(blocks_) - 1 - age) % kBlocks];
}

double DriftTest::Excess() const {
  return blocks_ >= kFirstLevel ? (Newest() - best_) / scale_ : 0;
}

double DriftTest::Rise(std::size_t n) const {
  std::array<double, kBlocks> newest;
  n = std::min({n, kBlocks, static_cast<std::size_t>(blocks_)});
  for (std::size_t i = 0; i < n; ++i) newest[n - 1 - i] = Value(i);
  return MannKendall(std::span<const double>(newest).first(n));
}

bool DriftTest::Add(Step step, double value) {
  if (in_block_ == 0) block_start_ = step;
  block_[in_block_++] = value;
  if (in_block_ < options_.block) return false;
  in_block_ = 0;
  CloseBlock();
  return true;
}

void DriftTest::Measure() {
  const std::size_t n = std::min(static_cast<std::size_t>(blocks_), kBlocks);
  std::array<double, kLevelBlocks> last;
  const std::size_t m = std::min(n, kLevelBlocks);
  for (std::size_t i = 0; i < m; ++i) last[i] = Value(i);
  const double level = MedianInPlace(std::span<double>(last).first(m));
  const std::size_t at = static_cast<std::size_t>(blocks_ - 1) % kBlocks;
  levels_[at] = m == kLevelBlocks ? level : HUGE_VAL;
  best_ = *std::min_element(levels_.begin(),
                            levels_.begin() + static_cast<std::ptrdiff_t>(n));
  std::array<double, kBlocks> differences;
  for (std::size_t i = 0; i + 1 < n; ++i) {
    differences[i] = Value(i) - Value(i + 1);
  }
  const auto used = std::span<double>(differences).first(n - 1);
  const double center = MedianInPlace(used);
  scale_ = std::max({MadInPlace(used, center) / std::sqrt(2.0),
                     options_.relative_floor * std::abs(best_),
                     options_.absolute_floor});
}

void DriftTest::CloseBlock() {
  std::array<double, kMaxBlock> copy = block_;
  const double value =
      MedianInPlace(std::span<double>(copy).first(options_.block));
  ring_[static_cast<std::size_t>(blocks_) % kBlocks] = value;
  ++blocks_;
  if (blocks_ < kFirstLevel) {
    if (blocks_ >= 2) Measure();
    return;
  }
  // Against the level before this block, so that it is no part of it.
  const double excess = Excess();
  if (sum_ <= 0) onset_ = block_start_;
  sum_ = std::clamp(sum_ + std::min(excess, kClip) - kDelta, 0.0, kMaxSum);
  if (sum_ <= 0) {
    onset_ = kNoStep;
    highest_ = 0;
    excursion_ = 0;
  } else {
    highest_ = std::max(highest_, excess);
    ++excursion_;
  }
  Measure();
}

}  // namespace steadyrun
