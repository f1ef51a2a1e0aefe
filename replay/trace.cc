#include "replay/trace.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/robust_stats.h"
#include "base/status_macros.h"
#include "server/engine/step_join.h"

namespace steadyrun::replay {
namespace {

struct StandardColumn {
  Metric metric;
  std::string_view name;
};

// The first name of each metric is the one CSV is written with; the others are
// what trainers and people call it.
constexpr auto kStandardColumns = std::to_array<StandardColumn>({
    {Metric::kStepSeconds, "step_time"},
    {Metric::kStepSeconds, "step_seconds"},
    {Metric::kStepSeconds, "job_step_time"},
    {Metric::kLoss, "loss"},
    {Metric::kLoss, "lm loss"},
    {Metric::kLoss, "train_loss"},
    {Metric::kGradNorm, "grad_norm"},
    {Metric::kGradNorm, "grad norm"},
    {Metric::kGradNorm, "grad-norm"},
    {Metric::kGradNorm, "global_norm"},
    {Metric::kTokens, "tokens"},
    {Metric::kComputeSeconds, "compute_seconds"},
    {Metric::kLearningRate, "learning_rate"},
    {Metric::kLearningRate, "lr"},
    {Metric::kLearningRate, "learning rate"},
    {Metric::kLearningRate, "learning-rate"},
    {Metric::kLossScale, "loss_scale"},
    {Metric::kLossScale, "loss scale"},
    {Metric::kLossScale, "loss-scale"},
    {Metric::kDataSeconds, "data_seconds"},
    {Metric::kDataSeconds, "data_time"},
});

}  // namespace

std::optional<Metric> StandardMetric(std::string_view name) {
  for (const StandardColumn& column : kStandardColumns) {
    if (column.name == name) return column.metric;
  }
  return std::nullopt;
}

std::string_view StandardName(Metric metric) {
  for (const StandardColumn& column : kStandardColumns) {
    if (column.metric == metric) return column.name;
  }
  return "unknown";
}

std::int64_t Trace::Rows() const {
  std::int64_t rows = 0;
  for (const TraceAttempt& attempt : attempts) {
    rows += static_cast<std::int64_t>(attempt.rows.size());
  }
  return rows;
}

double Trace::StepStride() const {
  std::vector<double> strides;
  for (const TraceAttempt& attempt : attempts) {
    for (std::size_t i = 1; i < attempt.rows.size(); ++i) {
      strides.push_back(static_cast<double>(attempt.rows[i].step.value -
                                            attempt.rows[i - 1].step.value));
    }
  }
  return strides.empty() ? 1 : std::max(1.0, MedianInPlace(strides));
}

double Trace::StepSeconds() const {
  std::vector<double> seconds;
  for (const TraceAttempt& attempt : attempts) {
    for (const StepRow& row : attempt.rows) {
      if (row.step_seconds > 0) seconds.push_back(row.step_seconds);
    }
  }
  return MedianInPlace(seconds);
}

TraceBuilder::TraceBuilder(std::string format) {
  trace_.format = std::move(format);
}

std::optional<std::uint32_t> TraceBuilder::Column(std::string_view name) {
  if (const auto metric = StandardMetric(name)) {
    return static_cast<std::uint32_t>(*metric);
  }
  return NamedColumn(name);
}

std::optional<std::uint32_t> TraceBuilder::NamedColumn(std::string_view name) {
  std::string key(name);
  if (const auto it = columns_.find(key); it != columns_.end()) {
    return it->second;
  }
  if (names_.size() >= kMaxColumns) return std::nullopt;
  const auto number =
      kFirstNamedMetric + static_cast<std::uint32_t>(names_.size());
  names_.push_back(key);
  columns_.emplace(std::move(key), number);
  return number;
}

std::int64_t TraceBuilder::AttemptOf(const TraceSample& sample) {
  RankProgress& progress = progress_[sample.rank];
  if (sample.attempt) {
    progress.attempt = *sample.attempt;
  } else if (sample.step < progress.step) {
    ++progress.attempt;
  }
  progress.step = sample.step;
  return progress.attempt;
}

absl::Status TraceBuilder::Add(const TraceSample& sample) {
  constexpr std::int64_t kMax = std::int64_t{1} << 40;  // As the store keeps.
  if (sample.step < 0 || sample.step >= kMax) {
    return absl::InvalidArgumentError(fmt::format(
        "step {} is out of range; expected 0 to 2^40", sample.step));
  }
  if (sample.rank < 0 || sample.rank >= kMaxRanks) {
    return absl::InvalidArgumentError(
        fmt::format("rank {} is out of range; expected 0 to {}", sample.rank,
                    kMaxRanks - 1));
  }
  if (sample.attempt && (*sample.attempt < 1 || *sample.attempt >= kMax)) {
    return absl::InvalidArgumentError(fmt::format(
        "attempt {} is out of range; attempts count from 1", *sample.attempt));
  }
  values_ += sample.values.size();
  if (values_ > kMaxValues) {
    return absl::ResourceExhaustedError(
        fmt::format("more than {} values; cut the recording", kMaxValues));
  }
  ++samples_;
  world_size_ = std::max(world_size_, sample.rank + 1);
  std::vector<Cell>& cells = rows_[{AttemptOf(sample), sample.step}];
  for (const auto& [column, value] : sample.values) {
    cells.push_back({sample.rank, column, static_cast<float>(value)});
  }
  return absl::OkStatus();
}

void TraceBuilder::SetPlace(std::int32_t rank, std::string_view node,
                            std::string_view role) {
  if (rank < 0 || rank >= kMaxRanks) return;
  places_[rank] = {std::string(node), std::string(role)};
}

std::vector<std::uint32_t> TraceBuilder::SortedColumns(
    const std::vector<Cell>& cells) const {
  std::vector<std::uint32_t> columns;
  columns.reserve(cells.size());
  for (const Cell& cell : cells) columns.push_back(cell.column);
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  return columns;
}

StepRow TraceBuilder::RowOf(const Key& key, const std::vector<Cell>& cells) {
  const auto world = static_cast<std::size_t>(world_size_);
  StepRow row;
  row.attempt = AttemptId{key.first};
  row.step = Step{key.second};
  row.world_size = world_size_;
  const std::vector<std::uint32_t> columns = SortedColumns(cells);
  for (const std::uint32_t column : columns) {
    if (column < kFirstNamedMetric) {
      row.metrics.push_back(column);
      continue;
    }
    row.metrics.push_back(kFirstNamedMetric +
                          static_cast<std::uint32_t>(row.names.size()));
    row.names.push_back(names_[column - kFirstNamedMetric]);
  }
  row.values.assign(columns.size() * world, AbsentValue());
  std::vector<bool> is_in(world, false);
  for (const Cell& cell : cells) {
    const auto it =
        std::lower_bound(columns.begin(), columns.end(), cell.column);
    const auto column = static_cast<std::size_t>(it - columns.begin());
    const auto rank = static_cast<std::size_t>(cell.rank);
    float& value = row.values[column * world + rank];
    const bool is_same =
        value == cell.value || (std::isnan(value) && std::isnan(cell.value));
    corrected_ += !IsAbsent(value) && !is_same ? 1 : 0;
    value = cell.value;
    is_in[rank] = true;
  }
  row.is_complete = std::find(is_in.begin(), is_in.end(), false) == is_in.end();
  return row;
}

TraceAttempt TraceBuilder::EmptyAttempt(std::int64_t number) const {
  TraceAttempt attempt;
  attempt.attempt.run = "trace";
  attempt.attempt.attempt = AttemptId{number};
  attempt.attempt.rank_nodes.resize(static_cast<std::size_t>(world_size_));
  for (const auto& [rank, place] : places_) {
    if (rank >= world_size_) break;
    const auto index = static_cast<std::size_t>(rank);
    attempt.attempt.rank_nodes[index] = place.first;
    if (place.second.empty()) continue;
    attempt.roles.resize(static_cast<std::size_t>(world_size_));
    attempt.roles[index] = place.second;
  }
  return attempt;
}

// A few samples of high ranks would make wide rows of nothing.
absl::Status TraceBuilder::CheckSize() const {
  std::size_t values = 0;
  for (const auto& [key, cells] : rows_) {
    values +=
        SortedColumns(cells).size() * static_cast<std::size_t>(world_size_);
  }
  if (values <= kMaxRowValues) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("the rows of {} ranks hold {} values, more than {}; cut the "
                  "recording, or "
                  "count ranks from 0 without gaps",
                  world_size_, values, kMaxRowValues));
}

absl::StatusOr<Trace> TraceBuilder::Finish() {
  RETURN_IF_ERROR(CheckSize());
  std::vector<double> scratch;
  for (auto& [key, cells] : rows_) {
    if (trace_.attempts.empty() ||
        trace_.attempts.back().attempt.attempt.value != key.first) {
      trace_.attempts.push_back(EmptyAttempt(key.first));
    }
    StepRow row = RowOf(key, cells);
    row.run = trace_.attempts.back().attempt.run;
    Summarize(&row, &scratch);
    trace_.attempts.back().rows.push_back(std::move(row));
    cells = {};
  }
  rows_.clear();
  if (corrected_ > 0) {
    Note(fmt::format(
        "{} values were told twice for one step{}: the later ones count",
        corrected_, world_size_ == 1 ? " (is a column 'rank' missing?)" : ""));
  }
  return std::move(trace_);
}

}  // namespace steadyrun::replay
