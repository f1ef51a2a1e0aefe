#pragma once

// RL: the policy leaves its reference, or makes too long a step.
//
// Model: the KL (against the reference; where none is reported, the size of
// that of the update) lies in three of five points 6 scales above its trend
// and at three times its level. Second witness, within the same five points:
// the clip fraction is at three times its level, or the score lies 4 scales
// below its trend. KL alone rises in healthy runs as well: that is what
// learning is. Judged after 64 points. Gone after 20 points without a high one.

#include "base/ids.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/metric_aliases.h"
#include "server/detect/curve/recent.h"
#include "server/detect/curve/trend_window.h"

namespace steadyrun {

class KlBlowup {
 public:
  KlBlowup();
  void Begin() { *this = KlBlowup(); }
  void Observe(const CurveContext& context, const SignalValues& signals);

 private:
  void Witness(const SignalValues& signals);
  void Judge(const CurveContext& context, double kl);

  TrendWindow kl_;
  TrendWindow clip_;
  TrendWindow score_;
  Votes high_;
  Votes witnessed_;
  Step first_high_;
  bool is_open_ = false;
};

}  // namespace steadyrun
