#include "server/model/row_columns.h"

namespace steadyrun {

std::span<const float> RowColumnAt(const StepRow& row, std::size_t m) {
  if (row.world_size <= 0 || m >= row.metrics.size()) return {};
  const auto world = static_cast<std::size_t>(row.world_size);
  if ((m + 1) * world > row.values.size()) return {};
  return std::span<const float>(row.values).subspan(m * world, world);
}

std::string_view RowColumnName(const StepRow& row, std::size_t m) {
  if (m >= row.metrics.size() || row.metrics[m] < kFirstNamedMetric) return {};
  const std::size_t index = row.metrics[m] - kFirstNamedMetric;
  return index < row.names.size() ? std::string_view(row.names[index])
                                  : std::string_view();
}

std::span<const float> RowColumn(const StepRow& row, Metric metric) {
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (row.metrics[m] == static_cast<std::uint32_t>(metric)) {
      return RowColumnAt(row, m);
    }
  }
  return {};
}

std::span<const float> RowColumn(const StepRow& row, std::string_view name) {
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (!name.empty() && RowColumnName(row, m) == name) {
      return RowColumnAt(row, m);
    }
  }
  return {};
}

}  // namespace steadyrun
