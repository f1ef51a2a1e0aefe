#pragma once

// A job's series in blocks of 5 steps, each with its median: up to two pauses
// in a block (a checkpoint or an evaluation nobody declared) leave no trace,
// and neighbouring blocks are independent. The last 256 blocks, 6 KB.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/ids.h"

namespace steadyrun {

class BlockSeries {
 public:
  static constexpr std::size_t kBlock = 5;
  static constexpr std::size_t kKept = 256;
  // As many blocks as a level is judged from: 200 steps.
  static constexpr std::uint64_t kMostBefore = 40;

  void Reset();
  // True when this value completed a block. A value that is not finite and
  // positive is left out.
  bool Add(Step step, double value);

  // Blocks ever; they are numbered from 0.
  std::uint64_t Count() const { return count_; }
  // Of the blocks from, from + 1 ...; these must be among the kept ones.
  double MedianOf(std::uint64_t from, std::uint64_t count) const;
  // Standard error of the logarithm of one such block's median, from how much
  // the blocks differ and, as few of them may agree by chance, from how much
  // the steps within each do; the larger.
  double ErrorOf(std::uint64_t from, std::uint64_t count) const;
  Step FirstStepOf(std::uint64_t block) const {
    return blocks_[block % kKept].first;
  }
  // Median of the last 2 blocks; 0 before there is one.
  double Level() const;
  // Median since `onset` over the median of the 200 steps before; nothing
  // when either side has no block.
  std::optional<double> RatioSince(Step onset) const;

 private:
  struct Block {
    double median = 0;
    double spread = 0;  // Logarithm of the 4th over the 2nd of its 5 values.
    Step first;
  };
  std::array<double, kBlock> values_{};
  std::size_t filled_ = 0;
  Step first_;  // Of the block that is being filled.
  std::array<Block, kKept> blocks_{};
  std::uint64_t count_ = 0;
};

}  // namespace steadyrun
