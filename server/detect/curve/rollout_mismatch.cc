#include "server/detect/curve/rollout_mismatch.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <vector>

namespace steadyrun {
namespace {

constexpr std::int64_t kWarmUp = 64;
constexpr double kThreshold = 6;
constexpr double kRatio = 3;
constexpr double kDifference = 0.01;
constexpr unsigned kGone = 20;

struct Limit {
  Signal signal;
  const char* what;
  double low;
  double high;
};
constexpr Limit kLimits[] = {
    {Signal::kMismatchKl, "KL between rollout and training", -0.1, 0.1},
    {Signal::kEss, "effective sample size", 0.3, HUGE_VAL},
    {Signal::kIsMean, "mean importance weight", 0.5, 2},
    {Signal::kIsStd, "deviation of the importance weights", -HUGE_VAL, 1},
    {Signal::kMismatchChi2, "chi-square a token", -HUGE_VAL, 1},
};

std::vector<std::string> PassedLimits(const SignalValues& signals) {
  std::vector<std::string> passed;
  for (const Limit& limit : kLimits) {
    const double value = signals[limit.signal];  // NaN passes none.
    if (value < limit.low || value > limit.high) {
      passed.push_back(fmt::format("{} {:.3g}, warned of outside {} to {}",
                                   limit.what, value, limit.low, limit.high));
    }
  }
  return passed;
}

bool HasAny(const SignalValues& signals) {
  if (signals.Has(Signal::kMismatchDiff)) return true;
  for (const Limit& limit : kLimits) {
    if (signals.Has(limit.signal)) return true;
  }
  return false;
}

}  // namespace

RolloutMismatch::RolloutMismatch() : difference_(0.05, 1e-4) {}

bool RolloutMismatch::IsDifferent(const SignalValues& signals) {
  if (!signals.Has(Signal::kMismatchDiff)) return false;
  const double value = signals[Signal::kMismatchDiff];
  const bool is_high = difference_.Taken() >= kWarmUp && value > kDifference &&
                       difference_.Score(value) > kThreshold &&
                       value > kRatio * difference_.Baseline();
  if (is_high) {
    difference_.Skip();
  } else {
    difference_.Accept(value);
  }
  return is_high;
}

void RolloutMismatch::Observe(const CurveContext& context,
                              const SignalValues& signals) {
  if (!HasAny(signals)) return;
  std::vector<std::string> passed = PassedLimits(signals);
  if (IsDifferent(signals)) {
    passed.push_back(
        fmt::format("mean difference of probabilities {:.3g}, trend {:.3g}",
                    signals[Signal::kMismatchDiff], difference_.Baseline()));
  }
  const bool is_high = !passed.empty();
  if (is_high && high_.Of(5) == 0) first_high_ = context.step;
  high_.Add(is_high);
  if (!is_open_ && is_high && high_.Of(5) >= 3) {
    is_open_ = true;
    ReportFinding(context, {.kind = IncidentKind::kRolloutMismatch,
                            .detector = "rollout_mismatch",
                            .phase = "high",
                            .onset = first_high_,
                            .reason = fmt::format(
                                "Rollout and training engine disagree at "
                                "step {}: {}.",
                                context.step.value, passed.front()),
                            .evidence = std::move(passed)});
  } else if (is_open_ && high_.Of(kGone) == 0) {
    is_open_ = false;
    ClearFinding(context, IncidentKind::kRolloutMismatch,
                 "Rollout and training engine agree again.");
  }
}

}  // namespace steadyrun
