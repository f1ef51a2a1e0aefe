#pragma once

// Columns of a packed step row. Both return an empty span when the row does
// not hold the metric or is shorter than it says; values may be AbsentValue().
// O(metrics).

#include <span>
#include <string_view>

#include "server/model/step_row.h"

namespace steadyrun {

std::span<const float> RowColumn(const StepRow& row, Metric metric);
std::span<const float> RowColumn(const StepRow& row, std::string_view name);
// The m-th column (as in row.metrics), and its name if it is a named one.
std::span<const float> RowColumnAt(const StepRow& row, std::size_t m);
std::string_view RowColumnName(const StepRow& row, std::size_t m);

}  // namespace steadyrun
