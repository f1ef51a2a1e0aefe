#pragma once

// A lasting change of the level of a job's series (step time, tokens per
// second), told from pauses and from jitter.
//
// Model: the logarithm of each block's median (block_series.h) goes to the
// change-point detector. A change is verified: P(fewer than 5 blocks ago) >
// 0.9, at least 3 blocks of the new level and 4 of the old, and the medians of
// both sides differ by more than `minimum` and by more than five standard
// errors of what the blocks before scattered: a run whose steps vary by 15 %
// shows changes of 17 % that are none. So it is told 15 to 19 steps after the
// onset, and never in the first 20 steps.

#include <cstdint>
#include <optional>

#include "base/ids.h"
#include "server/detect/speed/block_series.h"
#include "server/detect/speed/change_point.h"

namespace steadyrun {

class LevelWatch {
 public:
  struct Change {
    double before = 0;  // In the units of the series.
    double after = 0;
    Step onset;  // First step of the first block of the new level.
  };

  // `minimum`: as a share of the level before, 0.10 is 10 %.
  explicit LevelWatch(double minimum) : minimum_(minimum) {}

  void Reset();
  std::optional<Change> Add(Step step, double value);
  const BlockSeries& Blocks() const { return blocks_; }

 private:
  double minimum_;
  BlockSeries blocks_;
  ChangePoint change_{0.02};  // 2 %: usual noise of a block's median.
  // Blocks before this one are of a level that is known to be over.
  std::uint64_t level_from_ = 0;
};

}  // namespace steadyrun
