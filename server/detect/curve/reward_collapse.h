#pragma once

// RL: the reward falls and stays down.
//
// Model: drift_test.h on the negative score (the task's own, where reported:
// penalties in the optimised reward hide a fall), in blocks of four points: at
// least five blocks (20 points), a Page-Hinkley sum of 16, and the newest block
// 5 scales below the best level; Page-Hinkley downwards and 3 MAD for 20 steps
// are the published rule. The best level needs 48 points. Gone when the sum is
// back at zero.

#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/drift_test.h"
#include "server/detect/curve/metric_aliases.h"

namespace steadyrun {

class RewardCollapse {
 public:
  RewardCollapse();
  void Begin() { *this = RewardCollapse(); }
  void Observe(const CurveContext& context, const SignalValues& signals);

 private:
  DriftTest fall_;
  bool is_open_ = false;
};

}  // namespace steadyrun
