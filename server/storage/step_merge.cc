#include <algorithm>
#include <cmath>
#include <limits>

#include "base/robust_stats.h"
#include "server/storage/step_codec.h"

namespace steadyrun {
namespace {

// What names a column within a row: the metric, or the name of a named one.
struct ColumnKey {
  std::uint32_t metric = 0;  // kFirstNamedMetric for all named ones.
  std::string_view name;
  friend bool operator==(const ColumnKey&, const ColumnKey&) = default;
};

ColumnKey KeyOf(const StepRow& row, std::size_t column) {
  const std::uint32_t metric = row.metrics[column];
  if (metric < kFirstNamedMetric) return {metric, {}};
  const std::size_t index = metric - kFirstNamedMetric;
  return {kFirstNamedMetric,
          index < row.names.size() ? std::string_view(row.names[index]) : ""};
}

void GrowWorld(std::int32_t world_size, StepRow* row) {
  if (world_size <= row->world_size) return;
  const auto old_size = static_cast<std::size_t>(row->world_size);
  const auto new_size = static_cast<std::size_t>(world_size);
  std::vector<float> values(row->metrics.size() * new_size, AbsentValue());
  for (std::size_t c = 0; c < row->metrics.size(); ++c) {
    std::copy_n(row->values.begin() + static_cast<std::ptrdiff_t>(c * old_size),
                old_size,
                values.begin() + static_cast<std::ptrdiff_t>(c * new_size));
  }
  row->values = std::move(values);
  row->world_size = world_size;
}

std::size_t FindOrAddColumn(const ColumnKey& key, StepRow* row) {
  for (std::size_t c = 0; c < row->metrics.size(); ++c) {
    if (KeyOf(*row, c) == key) return c;
  }
  if (key.metric == kFirstNamedMetric) {
    row->metrics.push_back(kFirstNamedMetric +
                           static_cast<std::uint32_t>(row->names.size()));
    row->names.emplace_back(key.name);
  } else {
    row->metrics.push_back(key.metric);
  }
  row->values.resize(
      row->metrics.size() * static_cast<std::size_t>(row->world_size),
      AbsentValue());
  return row->metrics.size() - 1;
}

// The values of `metric` that ranks reported, NaN among them.
std::vector<double> Reported(const StepRow& row, Metric metric) {
  std::vector<double> values;
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::size_t c = 0; c < row.metrics.size(); ++c) {
    if (row.metrics[c] != static_cast<std::uint32_t>(metric)) continue;
    for (std::size_t rank = 0; rank < world; ++rank) {
      const float value = row.values[c * world + rank];
      if (!IsAbsent(value)) values.push_back(value);
    }
  }
  return values;
}

double Sum(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

double NanMax(const std::vector<double>& values) {
  double max = std::numeric_limits<double>::quiet_NaN();
  for (const double value : values) {
    if (std::isnan(value)) return value;
    if (!(value <= max)) max = value;
  }
  return max;
}

void SummarizeTimes(StepRow* row) {
  row->step_seconds = 0;
  row->step_seconds_max = 0;
  row->slowest_rank = -1;
  const auto world = static_cast<std::size_t>(row->world_size);
  for (std::size_t c = 0; c < row->metrics.size(); ++c) {
    if (row->metrics[c] != static_cast<std::uint32_t>(Metric::kStepSeconds)) {
      continue;
    }
    for (std::size_t rank = 0; rank < world; ++rank) {
      const float value = row->values[c * world + rank];
      if (IsAbsent(value) || !(value > row->step_seconds_max)) continue;
      row->step_seconds_max = value;
      row->slowest_rank = static_cast<std::int32_t>(rank);
    }
  }
  row->step_seconds = Median(Reported(*row, Metric::kStepSeconds));
}

}  // namespace

void Summarize(StepRow* row) {
  const std::vector<double> losses = Reported(*row, Metric::kLoss);
  row->loss = losses.empty() ? std::numeric_limits<double>::quiet_NaN()
                             : Sum(losses) / static_cast<double>(losses.size());
  row->grad_norm = NanMax(Reported(*row, Metric::kGradNorm));
  row->tokens = Sum(Reported(*row, Metric::kTokens));
  SummarizeTimes(row);
}

bool MergeLateRanks(const StepRow& late, StepRow* row) {
  bool changed = false;
  GrowWorld(late.world_size, row);
  const auto late_world = static_cast<std::size_t>(late.world_size);
  const auto world = static_cast<std::size_t>(row->world_size);
  for (std::size_t c = 0; c < late.metrics.size(); ++c) {
    const std::size_t target = FindOrAddColumn(KeyOf(late, c), row);
    for (std::size_t rank = 0; rank < late_world; ++rank) {
      const float value = late.values[c * late_world + rank];
      float& stored = row->values[target * world + rank];
      // A stored timing differs from the reported one by its rounding; the
      // same report once more must not count as news.
      if (IsAbsent(value) || !IsAbsent(stored)) continue;
      stored = value;
      changed = true;
    }
  }
  return changed;
}

}  // namespace steadyrun
