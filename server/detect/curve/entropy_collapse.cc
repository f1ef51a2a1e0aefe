#include "server/detect/curve/entropy_collapse.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

namespace steadyrun {
namespace {

constexpr std::size_t kMiddle = 5;
constexpr std::size_t kNow = 3;
constexpr std::size_t kFirstScores = 8;  // Validation steps report none.
constexpr std::size_t kFirstVerdict = 12;
constexpr double kDeviations = 5;
constexpr double kMinNoise = 0.02;
constexpr double kHalf = 0.6931471805599453;     // log 2
constexpr double kQuarter = 1.3862943611198906;  // log 4
constexpr double kLowestEntropy = 1e-6;          // Its logarithm is finite.
constexpr double kScoreNoise = 0.01;

}  // namespace

bool EntropyCollapse::IsWitnessed(double fall) const {
  if (alike_.Size() >= kFirstVerdict &&
      alike_.Newest(kMiddle) < alike_.Oldest(kMiddle)) {
    return false;
  }
  if (score_.Size() < kFirstScores) return fall > kQuarter;
  return score_.Newest(kMiddle) <=
         score_.Oldest(kMiddle) + std::max(score_.Noise(), kScoreNoise);
}

void EntropyCollapse::Observe(const CurveContext& context,
                              const SignalValues& signals) {
  if (!signals.Has(Signal::kEntropy)) return;
  const Signal reward =
      signals.Has(Signal::kScore) ? Signal::kScore : Signal::kReward;
  if (signals.Has(reward)) score_.Add(signals[reward]);
  if (signals.Has(Signal::kRewardZeroStd)) {
    alike_.Add(signals[Signal::kRewardZeroStd]);
  }
  log_entropy_.Add(
      std::log(std::max(signals[Signal::kEntropy], kLowestEntropy)));
  steps_[taken_++ % kSpan] = context.step;
  if (log_entropy_.Size() < kFirstVerdict) return;
  const double now = log_entropy_.Newest(kNow);
  if (is_open_) {
    lowest_ = std::min(lowest_, now);
    if (now > (before_ + lowest_) / 2) {
      is_open_ = false;
      ClearFinding(
          context, IncidentKind::kEntropyCollapse,
          fmt::format("The entropy has recovered to {:.3g}.", std::exp(now)));
    }
    return;
  }
  const double before = log_entropy_.Oldest(kMiddle);
  const double fall = before - now;
  const double noise = std::max(log_entropy_.Noise(), kMinNoise);
  if (fall < kDeviations * noise || fall < kHalf || !IsWitnessed(fall)) return;
  is_open_ = true;
  before_ = before;
  lowest_ = now;
  const std::size_t span = log_entropy_.Size();
  ReportFinding(
      context,
      {.kind = IncidentKind::kEntropyCollapse,
       .detector = "entropy_collapse",
       .phase = "falling",
       .onset = steps_[(taken_ - span + kMiddle) % kSpan],
       .reason = fmt::format("The policy's entropy has fallen from {:.3g} "
                             "to {:.3g} within {} points while the score "
                             "has not risen.",
                             std::exp(before), std::exp(now), span),
       .evidence = {fmt::format(
           "fall of the logarithm {:.2f}, {:.1f} times its own deviation", fall,
           fall / noise)}});
}

}  // namespace steadyrun
