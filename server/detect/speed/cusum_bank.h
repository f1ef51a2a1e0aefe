#pragma once

// One cumulative sum (Page's CUSUM) a rank: finds a small lasting excess early
// where one step's value says nothing.
//
//   S <- clamp(S + clip(x) - slack, 0, 2 alarm);   raised when S > alarm
//
// The clip bounds what one pause may add. The upper end bounds how long a
// fault that is over is remembered: 2 alarm / slack steps at most, and then,
// at S = 0, the rank is calm again. The onset is the step after S was last 0.
// 13 bytes a rank, O(1) a value.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"

namespace steadyrun {

struct CusumLimits {
  float clip;   // |x| is cut to this.
  float slack;  // An excess up to this adds nothing.
  float alarm;
};

class CusumBank {
 public:
  void Reset(std::size_t ranks);

  // One value for each rank of [first, first + x.size()); none may be NaN.
  // Appends the ranks that became raised, and those that became calm.
  void Add(std::size_t first, std::span<const float> x,
           const CusumLimits& limits, Step step,
           std::vector<std::size_t>* raised, std::vector<std::size_t>* calmed);

  float Sum(std::size_t rank) const { return sum_[rank]; }
  bool IsRaised(std::size_t rank) const { return is_raised_[rank] != 0; }
  // Raised by another rule, or as part of a group: it calms in the same way.
  void Raise(std::size_t rank) { is_raised_[rank] = 1; }
  // As if it had never been slow.
  void Restart(std::size_t rank) {
    sum_[rank] = 0;
    is_raised_[rank] = 0;
  }
  // First step of the present excess.
  Step Onset(std::size_t rank) const { return onset_[rank]; }

  std::size_t StateBytes() const;

 private:
  std::vector<float> sum_;
  std::vector<Step> onset_;
  std::vector<std::uint8_t> is_raised_;
};

}  // namespace steadyrun
