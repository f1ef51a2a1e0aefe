#pragma once

// The recent loss of a run, as the line that a row of the fleet's table shows.
//
// At most kPoints points, each the mean of `stride` steps: the stride doubles,
// and points are joined by pairs, whenever the line is full, up to kMaxStride;
// after that the oldest point goes. So a young run shows each step, an old one
// its newest 3,840: an hour of steps of 1 s, half a day of 10 s. O(1) a step,
// under 1 KB a run.

#include <cstddef>
#include <vector>

#include "base/ids.h"
#include "server/model/step_row.h"

namespace steadyrun {

class LossLine {
 public:
  static constexpr std::size_t kPoints = 60;
  static constexpr std::int64_t kMaxStride = 64;

  // A closed row. One without losses, or older than what is shown of its
  // attempt, changes nothing; a new attempt takes the place of the steps that
  // it makes again.
  void Add(const StepRow& row);

  // Oldest first; the last one may be of fewer steps. NaN: a step of it was.
  std::vector<float> Points() const;

 private:
  struct Point {
    Step first = kNoStep;
    double sum = 0;
    std::int64_t steps = 0;
  };

  void GiveUpFrom(Step step);
  void MakeRoom();

  std::vector<Point> points_;
  std::int64_t stride_ = 1;
  AttemptId attempt_;
  Step last_ = kNoStep;
};

}  // namespace steadyrun
