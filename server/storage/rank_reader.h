#pragma once

// Queries over the rows of all ranks: what a step's summary does not hold.

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/storage/history.h"
#include "server/storage/metric_names.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// INVALID_ARGUMENT for sides out of range. Empty (0 x 0) where no rows are.
absl::StatusOr<RankMatrix> ReadMatrix(const RankMatrixQuery& query,
                                      Database& database);

absl::StatusOr<std::vector<std::string>> ReadMetricNames(const RunId& run,
                                                         MetricNames* names,
                                                         Database& database);

absl::StatusOr<MetricCurve> ReadMetricCurve(const MetricQuery& query,
                                            MetricNames* names,
                                            Database& database);

}  // namespace steadyrun
