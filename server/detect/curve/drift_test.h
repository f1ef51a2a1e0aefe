#pragma once

// Whether a series drifts away, upwards, from the best level it has had.
//
// Model: the series is cut into blocks; a block's value is the median of its
// points, which takes out single outliers. The best level is the lowest median
// of eight successive blocks among the last kBlocks. Page-Hinkley sums up how
// far blocks lie above it: m = max(0, m + x - delta), x in scales of a block,
// clipped at 6 so that one wild block is not enough. The scale comes from the
// differences of neighbouring blocks, so that a trend does not widen it.
//
// The published form (Page-Hinkley on the points' detrended values, delta
// 0.25, lambda 50) follows a running mean, which follows a slow divergence
// too; and it takes neighbouring points for independent, which the data of a
// real run are not. The lowest level follows a healthy fall and nothing else.
// delta = 1.25: the lowest of many medians lies about 0.9 scales below the
// true level, so anything less sums up over a flat series.
//
// 1.5 KiB; O(1) a point.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/ids.h"

namespace steadyrun {

// Mann-Kendall's z: above 0 rising, beyond 3.7 with p < 1e-4. O(n^2), for
// short series only. 0 for fewer than four values.
double MannKendall(std::span<const double> values);

struct DriftOptions {
  std::size_t block = 10;  // Points a block, at most DriftTest::kMaxBlock.
  // The scale is at least this share of the level, and at least this.
  double relative_floor = 0;
  double absolute_floor = 1e-6;
};

class DriftTest {
 public:
  static constexpr std::size_t kBlocks = 64;
  static constexpr std::size_t kMaxBlock = 10;

  explicit DriftTest(const DriftOptions& options);

  void Reset();
  // A finite value. True when it completes a block.
  bool Add(Step step, double value);

  double Sum() const { return sum_; }
  // Where the present excursion began; kNoStep: there is none.
  Step Onset() const { return onset_; }
  double Best() const { return best_; }
  double Scale() const { return scale_; }
  double Newest() const { return Value(0); }
  // How far the newest block lies above the best level, in scales.
  double Excess() const;
  // Highest excess of the excursion.
  double HighestExcess() const { return highest_; }
  std::int64_t ExcursionBlocks() const { return excursion_; }
  std::int64_t Blocks() const { return blocks_; }
  // Mann-Kendall over the newest `n` blocks.
  double Rise(std::size_t n) const;

 private:
  static constexpr std::size_t kLevelBlocks = 8;

  double Value(std::size_t age) const;
  double LevelAt(std::size_t age) const;
  void Measure();
  void CloseBlock();

  DriftOptions options_;
  std::array<double, kMaxBlock> block_{};
  std::size_t in_block_ = 0;
  Step block_start_;
  std::array<double, kBlocks> ring_{};
  std::array<double, kBlocks> levels_{};
  std::int64_t blocks_ = 0;
  double best_ = 0;
  double scale_ = 0;
  double sum_ = 0;
  Step onset_ = kNoStep;
  double highest_ = 0;
  std::int64_t excursion_ = 0;
};

}  // namespace steadyrun
