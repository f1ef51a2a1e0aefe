#include "server/detect/curve/loss_scale.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

namespace steadyrun {
namespace {

constexpr std::int64_t kSettled = 50;
constexpr double kRecovered = 4;
constexpr double kLost = 1;

}  // namespace

void LossScale::Observe(const CurveContext& context,
                        std::optional<double> scale) {
  if (!options_.enabled || !scale.has_value()) return;
  if (!std::isfinite(*scale) || *scale <= 0) return;
  Enter(context, *scale);
  if (is_open_) {
    lowest_ = std::min(lowest_, *scale);
    if (*scale >= kRecovered * lowest_) {
      is_open_ = is_critical_ = false;
      ClearFinding(
          context, IncidentKind::kLossScale,
          fmt::format("The loss scale has recovered to {:.6g}.", *scale));
    }
  }
  if (is_settled_) Judge(context, *scale);
}

void LossScale::Enter(const CurveContext& context, double scale) {
  const Stay newest = entered_ > 0 ? stays_[(entered_ - 1) % kStays] : Stay{};
  Stay stay{scale, context.point, context.point, context.step};
  if (newest.scale == scale) {
    stay.from = newest.from;
    --entered_;
  }
  const bool has_risen = newest.scale > 0 && scale > newest.scale;
  if (!is_settled_ && (has_risen || stay.to - stay.from >= kSettled)) {
    is_settled_ = true;
    entered_ = 0;  // What the search went through is no height to fall from.
  }
  stays_[entered_ % kStays] = stay;
  ++entered_;
}

const LossScale::Stay* LossScale::HighestWithin(std::int64_t from) const {
  const Stay* highest = nullptr;
  for (std::size_t i = 0; i < std::min(entered_, kStays); ++i) {
    const Stay& stay = stays_[i];
    if (stay.to < from) continue;
    if (highest == nullptr || stay.scale > highest->scale) highest = &stay;
  }
  return highest;
}

void LossScale::Judge(const CurveContext& context, double scale) {
  const Stay* highest = HighestWithin(context.point - options_.points);
  const bool has_fallen = highest->scale >= options_.drop * scale;
  const bool is_lost = scale <= kLost && highest->scale > scale;
  if (!has_fallen && !(is_lost && is_open_)) return;
  if (is_open_ && (is_critical_ || scale > kLost)) return;
  is_critical_ = scale <= kLost;
  is_open_ = true;
  lowest_ = scale;
  ReportFinding(
      context,
      {.kind = IncidentKind::kLossScale,
       .detector = "loss_scale",
       .phase = is_critical_ ? "lost" : "falling",
       .severity = is_critical_ ? Severity::kCritical : Severity::kWarning,
       .onset = highest->last,
       .reason =
           fmt::format("The fp16 loss scale has fallen from {:.6g} "
                       "to {:.6g} within {} points: steps are being "
                       "skipped one after another.",
                       highest->scale, scale, context.point - highest->to),
       .evidence = {fmt::format("last step at {:.6g}: {}", highest->scale,
                                highest->last.value)}});
}

}  // namespace steadyrun
