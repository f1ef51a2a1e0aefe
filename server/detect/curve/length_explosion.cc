#include "server/detect/curve/length_explosion.h"

#include <spdlog/fmt/fmt.h>

namespace steadyrun {
namespace {

constexpr std::size_t kFirstVerdict = 20;
constexpr double kShare = 0.2;
constexpr double kShareAlone = 0.5;
constexpr double kRatio = 3;
constexpr unsigned kInARow = 5;
constexpr unsigned kGone = 10;
constexpr std::size_t kScorePoints = 16;

}  // namespace

bool LengthExplosion::IsHigh(double share) const {
  if (share <= kShare || share_.Size() < kFirstVerdict) return false;
  if (share <= kRatio * share_.Newest(kSpan)) return false;
  if (score_.Size() < kFirstVerdict) return share > kShareAlone;
  return score_.Newest(kScorePoints) <= score_.Oldest(kScorePoints);
}

void LengthExplosion::Observe(const CurveContext& context,
                              const SignalValues& signals) {
  if (!signals.Has(Signal::kLengthClip)) return;
  const Signal reward =
      signals.Has(Signal::kScore) ? Signal::kScore : Signal::kReward;
  if (signals.Has(reward)) score_.Add(signals[reward]);
  const double share = signals[Signal::kLengthClip];
  const bool is_high = IsHigh(share);
  share_.Add(share);
  above_.Add(share > kShare);
  if (is_high && high_.Of(kInARow) == 0) first_high_ = context.step;
  high_.Add(is_high);
  if (is_open_) {
    if (above_.Of(kGone) > 0) return;
    is_open_ = false;
    ClearFinding(
        context, IncidentKind::kLengthExplosion,
        fmt::format("The share of responses cut at their limit is back at "
                    "{:.2g}.",
                    share));
    return;
  }
  if (high_.Of(kInARow) < static_cast<int>(kInARow)) return;
  is_open_ = true;
  ReportFinding(
      context,
      {.kind = IncidentKind::kLengthExplosion,
       .detector = "length_explosion",
       .phase = "high",
       .onset = first_high_,
       .reason = fmt::format("{:.0f} % of the responses are cut at their "
                             "length limit at step {}, and the score has "
                             "not risen.",
                             100 * share, context.step.value),
       .evidence = {fmt::format(
           "median share of the last {} points {:.3g}; score {:.4g} then, "
           "{:.4g} now",
           share_.Size(), share_.Newest(kSpan), score_.Oldest(kScorePoints),
           score_.Newest(kScorePoints))}});
}

}  // namespace steadyrun
