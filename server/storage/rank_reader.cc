#include "server/storage/rank_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "server/storage/step_codec.h"
#include "server/storage/step_key.h"
#include "server/storage/step_reader.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

struct NamedColumn {
  std::string_view name;
  Metric metric;
};
constexpr std::array<NamedColumn, 8> kOwnMetrics = {{
    {"step_seconds", Metric::kStepSeconds},
    {"loss", Metric::kLoss},
    {"grad_norm", Metric::kGradNorm},
    {"tokens", Metric::kTokens},
    {"compute_seconds", Metric::kComputeSeconds},
    {"learning_rate", Metric::kLearningRate},
    {"loss_scale", Metric::kLossScale},
    {"data_seconds", Metric::kDataSeconds},
}};

// What one query reads: spans of stored rows, cut to kMaxRowBytes.
struct RowSpans {
  std::vector<LineageSpan> spans;  // In order of steps; empty: no rows.
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::int32_t world_size = 0;  // Of the newest row.
  std::string narrowed;
};

struct StoredRow {
  std::int64_t step = -1;
  std::int64_t bytes = 0;
  std::int32_t world_size = 0;
};

// The oldest or newest row within a span; step -1 if there is none.
absl::StatusOr<StoredRow> EndOf(const LineageSpan& span, bool newest,
                                Database& database) {
  StoredRow found;
  const std::string_view sql =
      newest ? "SELECT key, ranks FROM step_rows WHERE key BETWEEN ? AND ?"
               " ORDER BY key DESC LIMIT 1"
             : "SELECT key, ranks FROM step_rows WHERE key BETWEEN ? AND ?"
               " ORDER BY key LIMIT 1";
  std::vector<float> column;
  RETURN_IF_ERROR(database.Query(
      sql,
      [&](const Row& row) -> absl::Status {
        found.step = StepOfKey(row.Int(0));
        found.bytes = static_cast<std::int64_t>(row.Bytes(1).size());
        const absl::Status decoded = DecodeColumn(
            row.Bytes(1), static_cast<std::uint32_t>(Metric::kStepSeconds),
            &column);
        found.world_size = static_cast<std::int32_t>(column.size());
        return decoded;
      },
      StepKey(span.attempt_id, span.from), StepKey(span.attempt_id, span.to)));
  return found;
}

absl::StatusOr<RowSpans> FindRows(const RunId& run, Step from, Step to,
                                  Database& database) {
  ASSIGN_OR_RETURN(
      std::vector<LineageSpan> lineage,
      ReadLineage(run, std::max<std::int64_t>(0, from.value),
                  to == kNoStep ? kMaxStoredStep : to.value, database));
  RowSpans rows;
  std::int64_t bytes_left = kMaxRowBytes;
  std::int64_t skipped = 0;
  for (auto span = lineage.rbegin(); span != lineage.rend(); ++span) {
    ASSIGN_OR_RETURN(const StoredRow newest, EndOf(*span, true, database));
    if (newest.step < 0) continue;  // Rolled up, all of it.
    ASSIGN_OR_RETURN(const StoredRow oldest, EndOf(*span, false, database));
    if (rows.spans.empty()) rows.world_size = newest.world_size;
    const std::int64_t fit =
        bytes_left / std::max<std::int64_t>(1, newest.bytes);
    LineageSpan taken = *span;
    taken.to = newest.step;
    taken.from = std::max(oldest.step, newest.step - fit + 1);
    skipped += taken.from - oldest.step;
    if (taken.from > taken.to) continue;
    bytes_left -= (taken.to - taken.from + 1) * newest.bytes;
    rows.spans.push_back(taken);
  }
  std::reverse(rows.spans.begin(), rows.spans.end());
  if (rows.spans.empty()) return rows;
  rows.first = rows.spans.front().from;
  rows.last = rows.spans.back().to;
  if (skipped > 0) {
    rows.narrowed = fmt::format(
        "the newest steps from {} on: {} older ones are more than one query "
        "reads",
        rows.first, skipped);
  }
  return rows;
}

// Calls `take` with each row of the spans, in order of steps.
absl::Status ForEachRow(
    const RowSpans& rows, std::uint32_t column, Database& database,
    absl::FunctionRef<void(const LineageSpan& span, std::int64_t step,
                           double median, const std::vector<float>& values)>
        take) {
  std::vector<float> values;
  for (const LineageSpan& span : rows.spans) {
    RETURN_IF_ERROR(database.Query(
        "SELECT r.key, r.ranks, s.step_seconds FROM step_rows r"
        " JOIN step_summaries s ON s.key = r.key"
        " WHERE r.key BETWEEN ? AND ? ORDER BY r.key",
        [&](const Row& row) -> absl::Status {
          absl::Status decoded = DecodeColumn(row.Bytes(1), column, &values);
          if (decoded.ok()) {
            take(span, StepOfKey(row.Int(0)), row.Real(2), values);
          }
          return decoded;
        },
        StepKey(span.attempt_id, span.from),
        StepKey(span.attempt_id, span.to)));
  }
  return absl::OkStatus();
}

// A rank over all steps of a picture.
struct RankSum {
  double ratio = 0;
  double seconds = 0;
  double worst = 0;
  std::int64_t worst_step = -1;
  std::int64_t count = 0;
};

unsigned char CellOf(double ratio) {
  const double place = (ratio - RankMatrix::kLow) /
                       (RankMatrix::kHigh - RankMatrix::kLow) * 254.0;
  return static_cast<unsigned char>(1.0 + std::clamp(place, 0.0, 254.0));
}

// The cells of the step's column take what is more than they have. Twenty
// million values at 100,000 ranks: no division and no colour for each.
void AddStep(std::int64_t step, double median, const std::vector<float>& values,
             RankMatrix* matrix, std::vector<RankSum>* sums) {
  constexpr double kNothing = -std::numeric_limits<double>::infinity();
  const double scale = 1 / median;
  const std::size_t ranks = std::min(values.size(), sums->size());
  const auto per_row = static_cast<std::size_t>(matrix->ranks_per_row);
  auto cell = static_cast<std::size_t>((step - matrix->first.value) /
                                       matrix->steps_per_column);
  for (std::size_t begin = 0; begin < ranks; begin += per_row) {
    double most = kNothing;
    for (std::size_t rank = begin; rank < std::min(begin + per_row, ranks);
         ++rank) {
      if (!std::isfinite(values[rank])) continue;  // Or absent.
      const double ratio = values[rank] * scale;
      most = std::max(most, ratio);
      RankSum& sum = (*sums)[rank];
      sum.ratio += ratio;
      sum.seconds += values[rank];
      ++sum.count;
      if (ratio > sum.worst) {
        sum.worst = ratio;
        sum.worst_step = step;
      }
    }
    if (most > kNothing) {
      char& shown = matrix->cells[cell];
      shown = static_cast<char>(
          std::max(static_cast<unsigned char>(shown), CellOf(most)));
    }
    cell += static_cast<std::size_t>(matrix->columns);
  }
}

std::vector<SlowRank> Slowest(const std::vector<RankSum>& sums) {
  std::vector<SlowRank> ranks;
  for (std::size_t rank = 0; rank < sums.size(); ++rank) {
    const RankSum& sum = sums[rank];
    if (sum.count == 0) continue;
    const auto count = static_cast<double>(sum.count);
    ranks.push_back({static_cast<std::int32_t>(rank), sum.ratio / count,
                     sum.worst, Step{sum.worst_step}, sum.seconds / count});
  }
  const std::size_t kept = std::min(ranks.size(), RankMatrix::kSlowest);
  std::partial_sort(ranks.begin(),
                    ranks.begin() + static_cast<std::ptrdiff_t>(kept),
                    ranks.end(), [](const SlowRank& a, const SlowRank& b) {
                      return a.mean_ratio > b.mean_ratio;
                    });
  ranks.resize(kept);
  return ranks;
}

}  // namespace

absl::StatusOr<RankMatrix> ReadMatrix(const RankMatrixQuery& query,
                                      Database& database) {
  for (const std::int32_t side : {query.max_rows, query.max_columns}) {
    if (side < 1 || side > kMaxMatrixSide) {
      return absl::InvalidArgumentError(
          fmt::format("a matrix of {} by {} wanted: ask for 1 to {} each",
                      query.max_rows, query.max_columns, kMaxMatrixSide));
    }
  }
  ASSIGN_OR_RETURN(const RowSpans rows,
                   FindRows(query.run, query.from, query.to, database));
  RankMatrix matrix;
  if (rows.spans.empty() || rows.world_size == 0) return matrix;
  const std::int64_t steps = rows.last - rows.first + 1;
  matrix.world_size = rows.world_size;
  matrix.ranks_per_row =
      (rows.world_size + query.max_rows - 1) / query.max_rows;
  matrix.rows =
      (rows.world_size + matrix.ranks_per_row - 1) / matrix.ranks_per_row;
  matrix.steps_per_column = (steps + query.max_columns - 1) / query.max_columns;
  matrix.columns = static_cast<std::int32_t>(
      (steps + matrix.steps_per_column - 1) / matrix.steps_per_column);
  matrix.first = {rows.first};
  matrix.last = {rows.last};
  matrix.narrowed = rows.narrowed;
  matrix.cells.assign(static_cast<std::size_t>(matrix.rows) *
                          static_cast<std::size_t>(matrix.columns),
                      '\0');
  std::vector<RankSum> sums(static_cast<std::size_t>(rows.world_size));
  RETURN_IF_ERROR(ForEachRow(
      rows, static_cast<std::uint32_t>(Metric::kStepSeconds), database,
      [&](const LineageSpan&, std::int64_t step, double median,
          const std::vector<float>& values) {
        if (!(median > 0)) return;
        ++matrix.steps;
        AddStep(step, median, values, &matrix, &sums);
      }));
  matrix.slowest = Slowest(sums);
  return matrix;
}

absl::StatusOr<std::vector<std::string>> ReadMetricNames(const RunId& run,
                                                         MetricNames* names,
                                                         Database& database) {
  // Values that are logged every so many steps are among these.
  constexpr std::int64_t kRows = 256;
  constexpr std::int64_t kBytes = 32 << 20;
  ASSIGN_OR_RETURN(const RowSpans rows,
                   FindRows(run, Step{0}, kNoStep, database));
  std::set<std::uint32_t> columns;
  std::int64_t left = kRows;
  std::int64_t bytes_left = kBytes;
  for (auto span = rows.spans.rbegin();
       span != rows.spans.rend() && left > 0 && bytes_left > 0; ++span) {
    ASSIGN_OR_RETURN(const StoredRow newest, EndOf(*span, true, database));
    const std::int64_t fit =
        std::clamp(bytes_left / std::max<std::int64_t>(1, newest.bytes),
                   std::int64_t{1}, left);
    RETURN_IF_ERROR(database.Query(
        "SELECT ranks FROM step_rows WHERE key BETWEEN ? AND ?"
        " ORDER BY key DESC LIMIT ?",
        [&](const Row& row) -> absl::Status {
          --left;
          bytes_left -= static_cast<std::int64_t>(row.Bytes(0).size());
          ASSIGN_OR_RETURN(const auto ids, DecodeColumnIds(row.Bytes(0)));
          columns.insert(ids.begin(), ids.end());
          return absl::OkStatus();
        },
        StepKey(span->attempt_id, span->from),
        StepKey(span->attempt_id, span->to), fit));
  }
  std::vector<std::string> found;
  for (const std::uint32_t column : columns) {
    if ((column & kNamedColumn) != 0) {
      ASSIGN_OR_RETURN(std::string name,
                       names->NameOf(column & ~kNamedColumn, database));
      found.push_back(std::move(name));
      continue;
    }
    for (const NamedColumn& own : kOwnMetrics) {
      if (static_cast<std::uint32_t>(own.metric) == column) {
        found.emplace_back(own.name);
      }
    }
  }
  std::sort(found.begin(), found.end());
  if (found.size() > kMaxMetricNames) found.resize(kMaxMetricNames);
  return found;
}

absl::StatusOr<MetricCurve> ReadMetricCurve(const MetricQuery& query,
                                            MetricNames* names,
                                            Database& database) {
  if (query.max_buckets < 1 || query.max_buckets > kMaxBuckets) {
    return absl::InvalidArgumentError(fmt::format(
        "{} buckets wanted: ask for 1 to {}", query.max_buckets, kMaxBuckets));
  }
  std::uint32_t column = 0;
  for (const NamedColumn& own : kOwnMetrics) {
    if (own.name == query.name) column = static_cast<std::uint32_t>(own.metric);
  }
  if (column == 0) {
    ASSIGN_OR_RETURN(const auto id, names->Find(query.name, database));
    if (!id.has_value()) {
      return absl::NotFoundError(
          fmt::format("no step has a metric '{}'", query.name));
    }
    column = kNamedColumn | *id;
  }
  ASSIGN_OR_RETURN(const RowSpans rows,
                   FindRows(query.run, query.from, query.to, database));
  MetricCurve curve;
  curve.narrowed = rows.narrowed;
  const std::int64_t width =
      (rows.last - rows.first + query.max_buckets) / query.max_buckets;
  std::int64_t last_index = -1;
  RETURN_IF_ERROR(ForEachRow(
      rows, column, database,
      [&](const LineageSpan& span, std::int64_t step, double,
          const std::vector<float>& values) {
        MetricBucket bucket;
        bucket.last = {step};
        bucket.attempt = span.attempt;
        for (const float value : values) {
          if (IsAbsent(value)) continue;
          if (!std::isfinite(value)) {
            ++bucket.nonfinite;
            continue;
          }
          bucket.min =
              bucket.values == 0 ? value : std::min<double>(bucket.min, value);
          bucket.max =
              bucket.values == 0 ? value : std::max<double>(bucket.max, value);
          bucket.mean += value;
          ++bucket.values;
        }
        if (bucket.values + bucket.nonfinite == 0) return;  // Not logged here.
        const std::int64_t index = (step - rows.first) / width;
        if (index != last_index) {
          curve.buckets.push_back(bucket);  // Mean: a sum until the end.
          last_index = index;
          return;
        }
        MetricBucket& total = curve.buckets.back();
        if (bucket.values > 0) {
          const bool is_first = total.values == 0;
          total.min = is_first ? bucket.min : std::min(total.min, bucket.min);
          total.max = is_first ? bucket.max : std::max(total.max, bucket.max);
        }
        total.mean += bucket.mean;
        total.values += bucket.values;
        total.nonfinite += bucket.nonfinite;
        total.last = bucket.last;
        total.attempt = bucket.attempt;
      }));
  for (MetricBucket& bucket : curve.buckets) {
    bucket.mean = bucket.values > 0
                      ? bucket.mean / static_cast<double>(bucket.values)
                      : std::nan("");
    if (bucket.values == 0) bucket.min = bucket.max = bucket.mean;
  }
  return curve;
}

}  // namespace steadyrun
