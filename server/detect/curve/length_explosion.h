#pragma once

// RL: responses run into their length limit.
//
// Model: the share of responses cut at the limit (or aborted) lies above 0.2
// and above three times its median over the last 128 points, for five points in
// a row. Second witness: the score has not risen meanwhile, newest 16 points
// against oldest 16. Long answers that are paid for are no fault: a healthy run
// went from 900 to 5000 tokens and a clip ratio of 0.35 with a rising score.
// Where no score is reported the share has to pass a half. Gone after ten
// points below 0.2.

#include <cstddef>

#include "base/ids.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/metric_aliases.h"
#include "server/detect/curve/recent.h"

namespace steadyrun {

class LengthExplosion {
 public:
  void Begin() { *this = LengthExplosion(); }
  void Observe(const CurveContext& context, const SignalValues& signals);

 private:
  static constexpr std::size_t kSpan = 128;

  bool IsHigh(double share) const;

  Recent<kSpan> share_;
  Recent<kSpan> score_;
  Votes high_;
  Votes above_;
  Step first_high_;
  bool is_open_ = false;
};

}  // namespace steadyrun
