#include "server/detect/curve/grad_explosion.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace steadyrun {
namespace {

constexpr double kScaleFloor = 0.05;  // Of the logarithm: 5 %.
constexpr std::uint64_t kLastFive = 0x1f;
constexpr std::uint64_t kLastTwenty = 0xfffff;
// As many high points as the window holds are a new level, to be learned.
constexpr std::int64_t kMaxRejected = 128;

}  // namespace

GradExplosion::GradExplosion(const GradExplosionOptions& options)
    : options_(options), trend_(0, kScaleFloor) {}

void GradExplosion::Begin() { *this = GradExplosion(options_); }

void GradExplosion::Observe(const CurveContext& context,
                            std::optional<double> norm) {
  if (!options_.enabled || !norm.has_value()) return;
  if (!std::isfinite(*norm) || *norm <= 0) {
    trend_.Skip();
    return;
  }
  const double u = std::log(*norm);
  const bool is_warm = trend_.Taken() >= options_.warm_up;
  const double score = is_warm ? trend_.Score(u) : 0;
  const bool is_high = score > options_.threshold &&
                       u - trend_.Baseline() > std::log(options_.ratio);
  if (is_high && (high_ & kLastFive) == 0) first_high_ = context.step;
  high_ = high_ << 1 | (is_high ? 1 : 0);
  if (is_open_) peak_ = std::max(peak_, *norm);
  if (!is_open_ && is_high && std::popcount(high_ & kLastFive) >= 3) {
    Open(context, *norm, score);
  } else if (is_open_ && (high_ & kLastTwenty) == 0) {
    is_open_ = false;
    ClearFinding(
        context, IncidentKind::kGradExplosion,
        fmt::format("The gradient norm is back in its range since 20 points "
                    "(it began at step {}, peak {:.4g}).",
                    onset_.value, peak_));
  }
  if (is_high && rejected_ < kMaxRejected) {
    ++rejected_;
    trend_.Skip();
    return;
  }
  if (!is_high) rejected_ = 0;
  trend_.Accept(u);
}

void GradExplosion::Open(const CurveContext& context, double norm,
                         double score) {
  is_open_ = true;
  onset_ = first_high_;
  base_ = std::exp(trend_.Baseline());
  peak_ = norm;
  ReportFinding(
      context,
      {.kind = IncidentKind::kGradExplosion,
       .detector = "grad_explosion",
       .phase = "high",
       .severity = Severity::kWarning,
       .onset = onset_,
       .reason = fmt::format("The gradient norm has risen to {:.4g} at step "
                             "{}, {:.1f} times its trend.",
                             norm, context.step.value, norm / base_),
       .evidence = {fmt::format(
           "3 of 5 points more than {:.0f} scales of the logarithm and {} "
           "times above the trend of {:.4g}, the last by {:.1f} scales",
           options_.threshold, options_.ratio, base_, score)}});
}

}  // namespace steadyrun
