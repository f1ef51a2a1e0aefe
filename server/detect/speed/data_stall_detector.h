#pragma once

// Finds that ranks wait for their input: all of them (the storage, a data
// service) or one (its loader, its disk), for which the others then wait.
//
// Model: share = data seconds / step seconds. A prefetching loader keeps it
// near 0; what is usual for the run is the median of the first 20 rows, and
// follows slowly (1 % a row) while nothing is found.
//   all   CUSUM of (median share over the ranks - usual), slack `share`, clip
//         0.25, alarm 0.5: waiting a quarter of the step is told after 3
//         steps, 10 % after 10; one long wait (the first batch of a pass over
//         the data) cannot reach it
//   rank  the same of (its share - median share)
//   always  the usual share itself is above `always_share`
// Over when the sum is 0 again. Without data_seconds nothing is judged. About
// 20 bytes a rank.

#include <cstddef>
#include <vector>

#include "base/clock.h"
#include "base/fast_median.h"
#include "server/detect/speed/cusum_bank.h"
#include "server/detect/speed/options.h"
#include "server/detect/speed/watched_world.h"
#include "server/model/step_row.h"

namespace steadyrun {

class DataStallDetector {
 public:
  explicit DataStallDetector(const DataStallOptions& options)
      : options_(options) {}

  void Begin(const WatchedWorld& world);
  // Rows in ascending order of steps, warm-up left out.
  void Observe(const StepRow& row, const WatchedWorld& world, Now now,
               Verdicts* verdicts);

  bool IsStalled() const { return is_told_; }
  std::size_t StateBytes() const;

 private:
  // Shares of the step into share_; false when too few ranks report.
  bool ReadShares(const StepRow& row);
  void LearnUsual(float share);
  void ObserveAll(float share, const StepRow& row, const WatchedWorld& world,
                  Now now, Verdicts* verdicts);
  void ObserveRanks(float share, const StepRow& row, const WatchedWorld& world,
                    Now now, Verdicts* verdicts);
  void TellRank(const std::vector<std::size_t>& raised, const StepRow& row,
                const WatchedWorld& world, Now now, Verdicts* verdicts);
  void ClearIfOver(const WatchedWorld& world, Verdicts* verdicts);

  DataStallOptions options_;
  CusumBank all_;  // Of one: the job.
  CusumBank ranks_;
  std::vector<float> share_;
  std::vector<float> present_;
  MedianScratch scratch_;
  std::vector<float> first_shares_;  // At most 20.
  float usual_ = -1;                 // Negative: not known yet.
  std::size_t slow_ranks_ = 0;
  bool is_always_told_ = false;
  bool is_told_ = false;
};

}  // namespace steadyrun
