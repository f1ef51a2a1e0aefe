#pragma once

// RL: the engine that writes the responses and the one that is trained
// disagree about their probabilities.
//
// Model: in three of five points one of the limits verl's documentation warns
// of is passed (|KL| > 0.1, effective sample size < 0.3, mean importance weight
// outside 0.5 to 2, its deviation > 1, chi-square a token > 1); or the mean
// difference of probabilities lies 6 scales above its trend, at three times its
// level and above 0.01 (healthy is some 1e-3, by hardware and precision).
// Limits need no warm-up: two engines that disagree at the first step are set
// up wrongly. A mismatch comes before a collapse of the reward. Gone after 20
// points without.

#include <string>

#include "base/ids.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/metric_aliases.h"
#include "server/detect/curve/recent.h"
#include "server/detect/curve/trend_window.h"

namespace steadyrun {

class RolloutMismatch {
 public:
  RolloutMismatch();
  void Begin() { *this = RolloutMismatch(); }
  void Observe(const CurveContext& context, const SignalValues& signals);

 private:
  bool IsDifferent(const SignalValues& signals);

  TrendWindow difference_;
  Votes high_;
  Step first_high_;
  bool is_open_ = false;
};

}  // namespace steadyrun
