#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/ids.h"

namespace steadyrun {

// Follows the step number from point to point.
class StepLine {
 public:
  enum class Place {
    kNext,    // Goes on.
    kLate,    // Below the newest: closed late, or the first of a way back.
    kRewound  // The trainer has gone back; what follows begins anew here.
  };

  Place Add(Step step);
  // Usual growth of the step number from one point to the next, at least 1:
  // the median of the last growths, so that gaps do not count. Above 1 where
  // samples are counted or not every step is logged.
  std::int64_t Stride() const { return stride_; }
  std::int64_t Points() const { return points_; }
  Step Newest() const { return newest_; }

 private:
  static constexpr std::size_t kGrowths = 15;
  // Complete rows close nearly in order: a node reports its steps in order.
  static constexpr std::int64_t kFarBack = 64;
  static constexpr int kLateInARow = 8;

  void Measure(std::int64_t growth);

  Step newest_ = kNoStep;
  Step late_ = kNoStep;
  int lates_ = 0;
  std::int64_t points_ = 0;
  std::int64_t stride_ = 1;
  std::array<std::int64_t, kGrowths> growths_{};
  std::size_t measured_ = 0;
};

}  // namespace steadyrun
