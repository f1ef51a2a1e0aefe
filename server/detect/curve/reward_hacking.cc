#include "server/detect/curve/reward_hacking.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "server/detect/curve/drift_test.h"

namespace steadyrun {
namespace {

constexpr std::size_t kFirstVerdict = 16;
constexpr double kRising = 2.6;
constexpr double kLengthChange = 4.0 / 3;
constexpr double kEvalShare = 0.1;
constexpr double kEvalFall = 0.02;
constexpr double kEvalNoise = 4;
constexpr std::size_t kMiddle = 5;
constexpr unsigned kGone = 32;

// Mann-Kendall over means of two, oldest first: halves the noise and the work.
template <std::size_t N>
double Rise(const Recent<N>& recent) {
  std::array<double, N / 2> pairs;
  const std::size_t n = recent.Size() / 2;
  for (std::size_t i = 0; i < n; ++i) {
    pairs[n - 1 - i] = (recent.At(2 * i) + recent.At(2 * i + 1)) / 2;
  }
  return MannKendall(std::span<const double>(pairs).first(n));
}

}  // namespace

bool RewardHacking::IsHeldOutFalling() const {
  const double margin = std::max({kEvalShare * std::abs(best_eval_), kEvalFall,
                                  kEvalNoise * evals_.Noise()});
  if (evals_.Size() >= 3 && evals_.At(0) < best_eval_ - margin &&
      evals_.At(1) < best_eval_ - margin) {
    return true;
  }
  return score_.Size() >= kFirstVerdict && Rise(score_) < -kRising;
}

bool RewardHacking::IsPolicyMoving() const {
  if (kl_.Size() >= kFirstVerdict && Rise(kl_) > kRising) return true;
  if (length_.Size() < kFirstVerdict) return false;
  const double before = length_.Oldest(kMiddle);
  const double now = length_.Newest(kMiddle);
  return before > 0 &&
         (now > kLengthChange * before || now * kLengthChange < before);
}

void RewardHacking::Observe(const CurveContext& context,
                            const SignalValues& signals) {
  if (signals.Has(Signal::kEval)) {
    const double eval = signals[Signal::kEval];
    best_eval_ = evals_.Size() == 0 ? eval : std::max(best_eval_, eval);
    evals_.Add(eval);
  }
  if (signals.Has(Signal::kReferenceKl)) {
    kl_.Add(signals[Signal::kReferenceKl]);
  }
  if (signals.Has(Signal::kResponseLength)) {
    length_.Add(signals[Signal::kResponseLength]);
  }
  if (!signals.Has(Signal::kReward)) return;
  // A score of its own only: alone, it is what is optimised.
  if (signals.Has(Signal::kScore)) score_.Add(signals[Signal::kScore]);
  reward_.Add(signals[Signal::kReward]);
  steps_[taken_++ % kSpan] = context.step;
  if (reward_.Size() < kFirstVerdict) return;
  const double rise = Rise(reward_);
  const bool is_falling = IsHeldOutFalling();
  if (is_open_) {
    parted_.Add(is_falling && rise > 0);
    if (parted_.Of(kGone) > 0) return;
    is_open_ = false;
    ClearFinding(context, IncidentKind::kRewardHacking,
                 "Reward and held-out score no longer part.");
    return;
  }
  if (rise <= kRising || !is_falling || !IsPolicyMoving()) return;
  is_open_ = true;
  parted_.Add(true);
  const std::size_t span = reward_.Size();
  CurveClaim claim{
      .kind = IncidentKind::kRewardHacking,
      .detector = "reward_hacking",
      .phase = "parting",
      .onset = steps_[(taken_ - span) % kSpan],
      .reason =
          fmt::format("The optimised reward rises ({:.4g} to {:.4g} over "
                      "{} points) while the held-out score falls.",
                      reward_.Oldest(kMiddle), reward_.Newest(kMiddle), span),
      .evidence = {fmt::format("reward: Mann-Kendall z {:.1f}", rise)}};
  if (evals_.Size() > 0) {
    claim.evidence.push_back(fmt::format(
        "evaluation: newest {:.4g}, best {:.4g}", evals_.At(0), best_eval_));
  }
  if (score_.Size() > 0) {
    claim.evidence.push_back(fmt::format("score: {:.4g} to {:.4g}",
                                         score_.Oldest(kMiddle),
                                         score_.Newest(kMiddle)));
  }
  if (kl_.Size() > 0) {
    claim.evidence.push_back(
        fmt::format("KL to the reference: {:.3g} to {:.3g}",
                    kl_.Oldest(kMiddle), kl_.Newest(kMiddle)));
  }
  if (length_.Size() > 0) {
    claim.evidence.push_back(fmt::format("response length: {:.0f} to {:.0f}",
                                         length_.Oldest(kMiddle),
                                         length_.Newest(kMiddle)));
  }
  ReportFinding(context, std::move(claim));
}

}  // namespace steadyrun
