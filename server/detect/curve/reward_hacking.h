#pragma once

// RL: what is optimised rises while what is wanted falls.
//
// Model: three signals over the newest 32 points, in blocks of two by
// Mann-Kendall: the optimised reward rises (z > 2.6, p < 0.005); the policy
// moves with it: KL to the reference rises likewise, or the responses' length
// changes by a third; and the held-out score falls: the last two of at least
// three evaluations lie below the best by a tenth of its size, by 0.02 and by
// four times what they scatter, or the task's own score, logged beside the
// optimised reward, falls by Mann-Kendall. Without something held out there is
// no verdict: reward, KL and length rise together in every healthy run that
// learns to reason.
//
// For a person only: whether a reward is hacked is seen by reading responses.
// Gone when the two have not parted for 32 points.

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/ids.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/metric_aliases.h"
#include "server/detect/curve/recent.h"

namespace steadyrun {

class RewardHacking {
 public:
  void Begin() { *this = RewardHacking(); }
  void Observe(const CurveContext& context, const SignalValues& signals);

 private:
  static constexpr std::size_t kSpan = 32;

  bool IsHeldOutFalling() const;
  bool IsPolicyMoving() const;

  Recent<kSpan> reward_;
  Recent<kSpan> score_;
  Recent<kSpan> kl_;
  Recent<kSpan> length_;
  Recent<8> evals_;
  double best_eval_ = 0;
  std::array<Step, kSpan> steps_{};
  std::size_t taken_ = 0;
  Votes parted_;
  bool is_open_ = false;
};

}  // namespace steadyrun
