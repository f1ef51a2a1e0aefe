#pragma once

// RL: the policy stops exploring.
//
// Model: not an absolute level, which differs by model and task, but a fall:
// the median of the newest three log entropies lies below that of five points
// some 20 steps earlier by more than 5 of their own deviations and by at least
// a half. Healthy runs lose a half too, but over 100 steps and more. Second
// witness: the score has not risen meanwhile (entropy is what reward is bought
// with; a fall that buys nothing is a collapse), and the share of prompts whose
// answers all score alike, where reported, has not fallen. Without a score the
// entropy has to fall to a quarter. Judged from the twelfth point on, since
// policies die young. Gone when half of the loss is made good.

#include <cstddef>

#include "base/ids.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/metric_aliases.h"
#include "server/detect/curve/recent.h"

namespace steadyrun {

class EntropyCollapse {
 public:
  void Begin() { *this = EntropyCollapse(); }
  void Observe(const CurveContext& context, const SignalValues& signals);

 private:
  static constexpr std::size_t kSpan = 25;

  bool IsWitnessed(double fall) const;

  Recent<kSpan> log_entropy_;
  Recent<kSpan> score_;
  Recent<kSpan> alike_;
  std::array<Step, kSpan> steps_{};
  std::size_t taken_ = 0;
  bool is_open_ = false;
  double before_ = 0;
  double lowest_ = 0;
};

}  // namespace steadyrun
