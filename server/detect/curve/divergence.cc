#include "server/detect/curve/divergence.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

namespace steadyrun {
namespace {

constexpr std::size_t kBlock = 10;
constexpr double kRelativeFloor = 5e-4;
constexpr std::int64_t kMinBlocks = 6;
constexpr double kRising = 3.1;
constexpr std::int64_t kRiseBlocks = 20;
constexpr std::int64_t kMinBlocksInSpike = 10;
constexpr double kKept = 0.8;
constexpr std::size_t kNormBlocks = 20;
constexpr double kNormRising = 3.7;
constexpr double kMaterial = 0.02;
constexpr double kFar = 6;

}  // namespace

Divergence::Divergence(const DivergenceOptions& options)
    : options_(options),
      loss_({.block = kBlock, .relative_floor = kRelativeFloor}),
      norm_({.block = kBlock}) {}

void Divergence::Begin() { *this = Divergence(options_); }

void Divergence::Observe(const CurveContext& context,
                         std::optional<double> loss,
                         std::optional<double> grad_norm, bool is_spike_open) {
  if (!options_.enabled) return;
  if (grad_norm.has_value() && std::isfinite(*grad_norm) && *grad_norm > 0) {
    norm_.Add(context.step, std::log(*grad_norm));
  }
  if (!loss.has_value() || !std::isfinite(*loss)) return;
  if (loss_.Add(context.step, *loss)) Judge(context, is_spike_open);
}

bool Divergence::IsDrifting(bool is_spike_open) const {
  const std::int64_t blocks = is_spike_open ? kMinBlocksInSpike : kMinBlocks;
  return loss_.Sum() > options_.threshold &&
         loss_.ExcursionBlocks() >= blocks &&
         loss_.Excess() > kKept * loss_.HighestExcess() && Rise() > kRising;
}

double Divergence::Rise() const {
  return loss_.Rise(
      static_cast<std::size_t>(std::min(loss_.ExcursionBlocks(), kRiseBlocks)));
}

bool Divergence::IsConfirmed() const {
  if (norm_.Blocks() >= static_cast<std::int64_t>(kNormBlocks)) {
    return norm_.Rise(kNormBlocks) > kNormRising;
  }
  return loss_.ExcursionBlocks() >= kMinBlocksInSpike && Rise() > kNormRising &&
         loss_.Excess() > kFar &&
         loss_.Newest() - loss_.Best() > kMaterial * std::abs(loss_.Best());
}

CurveClaim Divergence::Describe(const CurveContext& context) const {
  CurveClaim claim{
      .kind = IncidentKind::kDivergence,
      .detector = "divergence",
      .phase = "rising",
      .onset = onset_,
      .reason = fmt::format("The loss has been rising since about step {}: "
                            "{:.4g} at step {}, best level {:.4g}.",
                            onset_.value, loss_.Newest(), context.step.value,
                            loss_.Best()),
      .evidence = {fmt::format(
          "{} blocks of {} points above the best level, the newest by {:.1f} "
          "scales; Page-Hinkley sum {:.1f} of {:.0f}; Mann-Kendall z {:.1f}",
          loss_.ExcursionBlocks(), kBlock, loss_.Excess(), loss_.Sum(),
          options_.threshold, Rise())}};
  if (norm_.Blocks() >= static_cast<std::int64_t>(kNormBlocks)) {
    claim.evidence.push_back(fmt::format(
        "gradient norm: Mann-Kendall z {:.1f} over {} blocks ({} means that it "
        "grows)",
        norm_.Rise(kNormBlocks), kNormBlocks, kNormRising));
  }
  return claim;
}

void Divergence::Judge(const CurveContext& context, bool is_spike_open) {
  if (state_ != State::kNone && loss_.Sum() <= 0) {
    state_ = State::kNone;
    ClearFinding(context, IncidentKind::kDivergence,
                 fmt::format("The loss is back at its best level ({:.4g}).",
                             loss_.Best()));
    return;
  }
  if (state_ == State::kMalignant || !IsDrifting(is_spike_open)) return;
  const bool is_confirmed = IsConfirmed();
  if (state_ == State::kReported && !is_confirmed) return;
  if (state_ == State::kNone) onset_ = loss_.Onset();
  CurveClaim claim = Describe(context);
  if (is_confirmed) {
    state_ = State::kMalignant;
    claim.phase = "malignant";
    ReportMalignant(context, std::move(claim));
  } else {
    state_ = State::kReported;
    ReportFinding(context, std::move(claim));
  }
}

}  // namespace steadyrun
