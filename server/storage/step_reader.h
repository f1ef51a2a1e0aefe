#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/step_row.h"
#include "server/storage/history.h"
#include "server/storage/metric_names.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// The stored row under `key` with its summary; none if it is not there. Run,
// attempt and step are not filled in.
absl::StatusOr<std::optional<StepRow>> ReadStepRow(std::int64_t key,
                                                   MetricNames* names,
                                                   Database& database);

// Steps [from, to] of a run that count: made by one attempt, and by no later
// one.
struct LineageSpan {
  std::int64_t attempt_id = 0;
  AttemptId attempt;
  std::int64_t from = 0;
  std::int64_t to = 0;  // Inclusive.
};
// In order of steps, without overlap, within [from, to].
absl::StatusOr<std::vector<LineageSpan>> ReadLineage(const RunId& run,
                                                     std::int64_t from,
                                                     std::int64_t to,
                                                     Database& database);

// The rest: what a later attempt made again. Newest attempt first; spans of
// different attempts may overlap.
absl::StatusOr<std::vector<LineageSpan>> ReadAbandoned(const RunId& run,
                                                       std::int64_t from,
                                                       std::int64_t to,
                                                       Database& database);

absl::StatusOr<std::vector<StepBucket>> ReadCurve(const StepQuery& query,
                                                  Database& database);

// NOT_FOUND: never stored, or rolled up.
absl::StatusOr<StepRow> ReadStep(const RunId& run, Step step,
                                 MetricNames* names, Database& database);

// See History::Rows. `query.limit` is positive.
absl::StatusOr<std::vector<StepRow>> ReadRowPage(const RowQuery& query,
                                                 MetricNames* names,
                                                 Database& database);

absl::StatusOr<std::vector<RankPoint>> ReadRankSeries(const RankQuery& query,
                                                      Database& database);

}  // namespace steadyrun
