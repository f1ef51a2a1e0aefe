#include "server/detect/curve/curve_point.h"

#include <cmath>
#include <limits>

#include "proto/messages/messages.h"

namespace steadyrun {
namespace {

// Empty when the row has no such column, or is cut short.
std::span<const float> Column(const StepRow& row, std::uint32_t metric) {
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (row.metrics[m] != metric) continue;
    if ((m + 1) * world > row.values.size()) return {};
    return std::span<const float>(row.values).subspan(m * world, world);
  }
  return {};
}

std::optional<double> MeanOfReported(std::span<const float> values) {
  double sum = 0;
  std::size_t reported = 0;
  for (const float value : values) {
    if (IsAbsent(value)) continue;
    sum += static_cast<double>(value);
    ++reported;
  }
  if (reported == 0) return std::nullopt;
  return sum / static_cast<double>(reported);
}

// The row's summary, which is NaN both for "nobody" and for "a NaN".
std::optional<double> Summary(const StepRow& row, Metric metric,
                              double summary) {
  if (!std::isnan(summary)) {
    const bool has = !Column(row, static_cast<std::uint32_t>(metric)).empty();
    return has ? std::optional(summary) : std::nullopt;
  }
  return MeanOfReported(Column(row, static_cast<std::uint32_t>(metric)));
}

}  // namespace

CurvePoint RowReducer::Reduce(const StepRow& row) {
  CurvePoint point;
  point.step = row.step;
  point.loss = Summary(row, Metric::kLoss, row.loss);
  point.grad_norm = Summary(row, Metric::kGradNorm, row.grad_norm);
  point.loss_scale = MeanOfReported(
      Column(row, static_cast<std::uint32_t>(Metric::kLossScale)));
  point.step_seconds = Summary(row, Metric::kStepSeconds, row.step_seconds);
  point.tokens = Summary(row, Metric::kTokens, row.tokens);
  values_.assign(row.names.size(), std::numeric_limits<double>::quiet_NaN());
  for (std::size_t i = 0; i < row.names.size(); ++i) {
    const auto metric = kFirstNamedMetric + static_cast<std::uint32_t>(i);
    values_[i] = MeanOfReported(Column(row, metric)).value_or(values_[i]);
  }
  point.names = row.names;
  point.values = values_;
  return point;
}

}  // namespace steadyrun
