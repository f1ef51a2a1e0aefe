#include "server/detect/curve/kl_blowup.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>

namespace steadyrun {
namespace {

constexpr std::int64_t kWarmUp = 64;
constexpr double kThreshold = 6;
constexpr double kRatio = 3;
constexpr double kScoreFall = -4;
constexpr unsigned kGone = 20;
// A KL below 0.01 is within what trust regions allow, whatever its trend.
constexpr double kKlFloor = 2e-3;
constexpr double kClipFloor = 1e-3;
constexpr double kScoreFloor = 0.01;
constexpr double kRelativeFloor = 0.05;
// Points not taken into a trend; beyond, they are a new level.
constexpr int kMaxHigh = 48;

}  // namespace

KlBlowup::KlBlowup()
    : kl_(kRelativeFloor, kKlFloor),
      clip_(kRelativeFloor, kClipFloor),
      score_(kRelativeFloor, kScoreFloor) {}

void KlBlowup::Witness(const SignalValues& signals) {
  bool is_witnessed = false;
  if (signals.Has(Signal::kClipFraction)) {
    const double clip = signals[Signal::kClipFraction];
    is_witnessed |= clip_.Taken() >= kWarmUp && clip > kClipFloor &&
                    clip > kRatio * clip_.Baseline();
    clip_.Accept(clip);
  }
  const Signal reward =
      signals.Has(Signal::kScore) ? Signal::kScore : Signal::kReward;
  if (signals.Has(reward)) {
    is_witnessed |=
        score_.Taken() >= kWarmUp && score_.Score(signals[reward]) < kScoreFall;
    score_.Accept(signals[reward]);
  }
  witnessed_.Add(is_witnessed);
}

void KlBlowup::Observe(const CurveContext& context,
                       const SignalValues& signals) {
  const Signal source = signals.Has(Signal::kReferenceKl) ? Signal::kReferenceKl
                                                          : Signal::kUpdateKl;
  if (!signals.Has(source)) return;
  Witness(signals);
  Judge(context, std::abs(signals[source]));
}

void KlBlowup::Judge(const CurveContext& context, double kl) {
  const bool is_high = kl_.Taken() >= kWarmUp && kl_.Score(kl) > kThreshold &&
                       kl > kRatio * kl_.Baseline();
  if (is_high && high_.Of(5) == 0) first_high_ = context.step;
  high_.Add(is_high);
  if (!is_open_ && is_high && high_.Of(5) >= 3 && witnessed_.Of(5) > 0) {
    is_open_ = true;
    ReportFinding(
        context,
        {.kind = IncidentKind::kKlBlowup,
         .detector = "kl_blowup",
         .phase = "high",
         .onset = first_high_,
         .reason = fmt::format("The KL divergence of the policy has risen "
                               "to {:.3g} at step {}, from {:.3g}.",
                               kl, context.step.value, kl_.Baseline()),
         .evidence = {fmt::format(
             "{} of 5 points more than {:.0f} scales above the trend; clip "
             "fraction or score left its range in {} of them",
             high_.Of(5), kThreshold, witnessed_.Of(5))}});
  } else if (is_open_ && high_.Of(kGone) == 0) {
    is_open_ = false;
    ClearFinding(context, IncidentKind::kKlBlowup,
                 fmt::format("The KL divergence is back at {:.3g}.", kl));
  }
  if (is_high && high_.Of(64) < kMaxHigh) {
    kl_.Skip();
  } else {
    kl_.Accept(kl);
  }
}

}  // namespace steadyrun
