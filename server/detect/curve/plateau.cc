#include "server/detect/curve/plateau.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "server/detect/curve/drift_test.h"

namespace steadyrun {
namespace {

constexpr double kClip = 3;
constexpr double kNoFall = -1;
constexpr double kFalls = -2;
constexpr double kSame = 1e-3;

}  // namespace

void Plateau::Observe(const CurveContext& context, std::optional<double> loss,
                      double trend, double scale) {
  if (!options_.enabled || !loss.has_value() || !std::isfinite(*loss)) return;
  if (scale <= 0) return;  // The first points of an attempt.
  if (in_block_ == 0) block_start_ = context.step;
  sum_ += std::clamp(*loss, trend - kClip * scale, trend + kClip * scale);
  if (++in_block_ < options_.points / static_cast<std::int64_t>(kBlocks)) {
    return;
  }
  ring_[blocks_ % kBlocks] = sum_ / static_cast<double>(in_block_);
  starts_[blocks_ % kBlocks] = block_start_;
  ++blocks_;
  sum_ = 0;
  in_block_ = 0;
  if (blocks_ >= kBlocks) Judge(context);
}

void Plateau::Judge(const CurveContext& context) {
  std::array<double, kBlocks> values;
  for (std::size_t i = 0; i < kBlocks; ++i) {
    values[i] = ring_[(blocks_ + i) % kBlocks];
  }
  const double z = MannKendall(values);
  constexpr std::ptrdiff_t kHalf = kBlocks / 2;
  const double older =
      std::accumulate(values.begin(), values.begin() + kHalf, 0.0) / kHalf;
  const double newer =
      std::accumulate(values.begin() + kHalf, values.end(), 0.0) / kHalf;
  const bool is_flat = newer > older - kSame * std::abs(older);
  if (is_open_ && (z < kFalls || !is_flat)) {
    is_open_ = false;
    ClearFinding(context, IncidentKind::kPlateau, "The loss falls again.");
  }
  if (is_open_ || z <= kNoFall || !is_flat) return;
  is_open_ = true;
  const Step start = starts_[blocks_ % kBlocks];
  ReportFinding(
      context,
      {.kind = IncidentKind::kPlateau,
       .detector = "plateau",
       .phase = "flat",
       .severity = Severity::kInfo,
       .onset = start,
       .reason = fmt::format("The loss has not fallen since step {}: {:.4g} "
                             "then, {:.4g} now.",
                             start.value, older, newer),
       .evidence = {
           fmt::format("Mann-Kendall z {:.1f} over {} blocks", z, kBlocks)}});
}

}  // namespace steadyrun
