#include "server/detect/curve/loss_spike.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

#include "base/robust_stats.h"

namespace steadyrun {
namespace {

constexpr double kRelativeFloor = 2e-3;
constexpr double kAbsoluteFloor = 1e-4;  // A loss of zero has a scale too.
// Halves the scores of the first trend: 5 scales there are 10.
constexpr double kEarlyDoubt = 2;
// Not taken into the trend; but after 64 such points in a short time they are
// no outliers any more: the noise has grown.
constexpr double kOutlier = 4;
constexpr std::int64_t kMaxRejected = 64;
constexpr double kSlack = 1.5;
constexpr double kClip = 4;
constexpr double kCusum = 11;
constexpr std::int64_t kMaxLookBack = 32;
constexpr std::uint64_t kLastFive = 0x1f;

constexpr double kBack = 3;
constexpr std::int64_t kCalmBlocks = 2;
constexpr double kHuge = 20;
constexpr std::int64_t kHugePoints = 60;
constexpr double kHugeKept = 0.8;
constexpr double kHalfWay = 0.5;
constexpr double kHigher = 1.25;  // A block so much above all before: a rise.
constexpr std::int64_t kLongest = 4;
constexpr double kStillHigh = 5;
constexpr std::int64_t kForget = 1000;

}  // namespace

LossSpike::LossSpike(const LossSpikeOptions& options)
    : options_(options), trend_(kRelativeFloor, kAbsoluteFloor) {}

void LossSpike::Begin() { *this = LossSpike(options_); }

void LossSpike::Observe(const CurveContext& context, std::optional<double> loss,
                        bool is_grad_high) {
  if (!options_.enabled || !loss.has_value()) return;
  if (!std::isfinite(*loss)) {
    trend_.Skip();
    if (state_ == State::kSuspected) {
      CallMalignant(context, fmt::format("the loss became {} at step {}", *loss,
                                         context.step.value));
    }
    return;
  }
  if (state_ == State::kCalm) return Watch(context, *loss, is_grad_high);
  peak_ = std::max(peak_, *loss);
  const double score = trend_.Score(*loss);
  trend_.Skip();
  Judge(context, score);
}

// The first points fall steeply and no line describes them, so that for as long
// as the window still holds them a score counts for less.
double LossSpike::Doubt(std::int64_t points) const {
  return points < 2 * options_.warm_up ? kEarlyDoubt : 1;
}

void LossSpike::Watch(const CurveContext& context, double loss,
                      bool is_grad_high) {
  const bool is_warm = trend_.Taken() >= options_.warm_up;
  const double score = is_warm ? trend_.Score(loss) / Doubt(trend_.Taken()) : 0;
  if (cusum_ <= 0 || context.point - first_point_ > kMaxLookBack) {
    first_ = context.step;
    first_point_ = context.point;
  }
  cusum_ = std::max(0.0, cusum_ + std::min(score, kClip) - kSlack);
  high_ = (high_ << 1 | (score > options_.threshold ? 1 : 0)) & kLastFive;
  const bool is_repeated = (high_ & 1) != 0 && std::popcount(high_) >= 3;
  const bool is_joint =
      (high_ & 1) != 0 && std::popcount(high_) >= 2 && is_grad_high;
  if (is_repeated || cusum_ > kCusum || is_joint) {
    return Open(context, loss, score);
  }
  if (score > kOutlier && rejected_ < kMaxRejected) {
    ++rejected_;
    trend_.Skip();
    return;
  }
  if (rejected_ > 0) --rejected_;
  trend_.Accept(loss);
}

void LossSpike::Open(const CurveContext& context, double loss, double score) {
  state_ = State::kSuspected;
  onset_ = first_;
  base_ = trend_.Baseline();
  peak_ = loss;
  ReportFinding(
      context,
      {.kind = IncidentKind::kLossSpike,
       .detector = "loss_spike",
       .phase = "suspected",
       .severity = Severity::kWarning,
       .onset = onset_,
       .reason = fmt::format(
           "The loss has jumped to {:.4g} at step {}, from a trend of "
           "{:.4g}; it is watched whether it comes back.",
           loss, context.step.value, base_),
       .evidence = {fmt::format(
           "{:.1f} scales above the trend (scale {:.3g}); {} of the last 5 "
           "points above {:.0f}; sum {:.1f} of {:.0f}",
           score, trend_.Scale(), std::popcount(high_), options_.threshold,
           cusum_, kCusum)}});
  trend_.Skip();
  Judge(context, score);
}

void LossSpike::Judge(const CurveContext& context, double score) {
  const auto at = static_cast<std::size_t>(open_points_) % kBlock;
  block_[at] = score;
  ++open_points_;
  if (at + 1 == kBlock) JudgeBlock(context);
}

void LossSpike::JudgeBlock(const CurveContext& context) {
  newest_ = MedianInPlace(block_);
  const bool is_first = open_points_ == static_cast<std::int64_t>(kBlock);
  if (is_first || newest_ > kHigher * highest_) {
    risen_at_ = open_points_;
    trough_ = newest_;
  }
  highest_ = is_first ? newest_ : std::max(highest_, newest_);
  trough_ = std::min(trough_, newest_);
  lowest_ = is_first ? newest_ : std::min(lowest_, newest_);
  calm_blocks_ = newest_ < kBack ? calm_blocks_ + 1 : 0;
  if (calm_blocks_ >= kCalmBlocks) {
    return End(context,
               fmt::format("The loss is back on its trend {} points after the "
                           "spike at step {} (peak {:.4g}).",
                           open_points_, onset_.value, peak_));
  }
  if (state_ != State::kSuspected) {
    if (open_points_ < kForget) return;
    trend_.Reset();
    return End(context,
               fmt::format("The loss has not come back from the spike at step "
                           "{} for {} points; what is there now is taken for "
                           "its trend.",
                           onset_.value, open_points_));
  }
  if (open_points_ >= kHugePoints && lowest_ > kHuge &&
      newest_ > kHugeKept * highest_) {
    return CallMalignant(
        context, fmt::format("for {} points more than {:.0f} scales above its "
                             "trend, and not falling",
                             open_points_, kHuge));
  }
  JudgePatience(context);
}

void LossSpike::JudgePatience(const CurveContext& context) {
  const std::int64_t patience = options_.malignant_after;
  const std::int64_t since_rise = open_points_ - risen_at_;
  if (newest_ < kStillHigh) {
    if (open_points_ < kLongest * patience) return;
    trend_.Reset();
    return End(context, fmt::format("The loss has settled slightly above its "
                                    "trend since the spike at step {}; that "
                                    "is the new trend.",
                                    onset_.value));
  }
  if ((open_points_ >= 2 * patience && 2 * since_rise >= 3 * patience) ||
      open_points_ >= kLongest * patience) {
    return CallMalignant(context,
                         fmt::format("not back after {} points", open_points_));
  }
  if (open_points_ >= patience && 2 * since_rise >= patience &&
      trough_ > kHalfWay * highest_) {
    CallMalignant(context, fmt::format("less than half-way back after {} "
                                       "points",
                                       open_points_));
  }
}

void LossSpike::CallMalignant(const CurveContext& context, std::string why) {
  state_ = State::kMalignant;
  ReportMalignant(
      context,
      {.kind = IncidentKind::kLossSpike,
       .detector = "loss_spike",
       .phase = "malignant",
       .onset = onset_,
       .reason = fmt::format("The loss spike of step {} does not come back by "
                             "itself: {}.",
                             onset_.value, why),
       .evidence = {fmt::format("trend {:.4g}, peak {:.4g}; highest block "
                                "{:.1f} scales above the trend, newest {:.1f}",
                                base_, peak_, highest_, newest_)}});
}

void LossSpike::BecomeDivergence(const CurveContext& context) {
  if (state_ != State::kSuspected) return;
  state_ = State::kHandedOver;
  ClearFinding(context, IncidentKind::kLossSpike,
               fmt::format("The spike of step {} goes on as a divergence.",
                           onset_.value));
}

void LossSpike::End(const CurveContext& context, std::string reason) {
  if (state_ != State::kHandedOver) {
    ClearFinding(context, IncidentKind::kLossSpike, std::move(reason));
  }
  const TrendWindow trend = trend_;
  Begin();
  trend_ = trend;
}

}  // namespace steadyrun
