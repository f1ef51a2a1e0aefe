#pragma once

// A recorded run: the rows the service would have seen, attempt by attempt.
// Readers (replay/readers/) make it from files, the service from its store.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "server/detect/watched_attempt.h"
#include "server/model/step_row.h"

namespace steadyrun::replay {

struct TraceAttempt {
  WatchedAttempt attempt;          // Nodes are empty where not recorded.
  std::vector<std::string> roles;  // By rank; empty: not recorded.
  std::vector<StepRow> rows;       // By step; summaries are filled.
};

struct Trace {
  std::string format;  // "csv", "megatron", ...
  std::vector<TraceAttempt> attempts;
  // What a person should know about how the file was read.
  std::vector<std::string> notes;

  std::int64_t Rows() const;
  // How far the step number moves from row to row, the median: 10 where each
  // tenth step was logged, 64 where samples are counted. 1 for no rows.
  double StepStride() const;
  // Median over rows; 0 where it was not recorded.
  double StepSeconds() const;
};

// A step with its rank and values, as one line or record tells it.
struct TraceSample {
  std::int64_t step = 0;
  std::int32_t rank = 0;
  std::optional<std::int64_t> attempt{};  // Absent: told from the steps.
  // Column numbers of TraceBuilder::Column. Not finite is a value.
  std::vector<std::pair<std::uint32_t, double>> values{};
};

// Joins samples into rows. Without an attempt number, a rank's step that goes
// back begins a new attempt; the same step again completes or corrects the
// first. Columns that no reader knows become named metrics.
class TraceBuilder {
 public:
  // Bounds, so that a mistaken file does not eat the machine: ranks of the
  // largest jobs, columns of the widest trainers' logs, and 600 MB of values.
  static constexpr std::int32_t kMaxRanks = 1 << 20;
  static constexpr std::size_t kMaxColumns = 2048;
  static constexpr std::size_t kMaxValues = 50'000'000;
  // Of the joined rows, which are as wide as the highest rank: 400 MB.
  static constexpr std::size_t kMaxRowValues = 100'000'000;

  explicit TraceBuilder(std::string format);

  // The number of a column by its name; standard metrics by any of their
  // usual names. Absent past kMaxColumns.
  std::optional<std::uint32_t> Column(std::string_view name);
  // The same, never a standard metric.
  std::optional<std::uint32_t> NamedColumn(std::string_view name);
  // INVALID_ARGUMENT: a step, rank or attempt out of range.
  // RESOURCE_EXHAUSTED: too much for one trace.
  absl::Status Add(const TraceSample& sample);
  void SetPlace(std::int32_t rank, std::string_view node,
                std::string_view role);
  void Note(std::string note) { trace_.notes.push_back(std::move(note)); }
  std::size_t Samples() const { return samples_; }

  absl::StatusOr<Trace> Finish();

 private:
  struct Cell {
    std::int32_t rank;
    std::uint32_t column;
    float value;
  };
  using Key = std::pair<std::int64_t, std::int64_t>;  // Attempt, step.

  std::int64_t AttemptOf(const TraceSample& sample);
  absl::Status CheckSize() const;
  StepRow RowOf(const Key& key, const std::vector<Cell>& cells);
  std::vector<std::uint32_t> SortedColumns(
      const std::vector<Cell>& cells) const;
  TraceAttempt EmptyAttempt(std::int64_t number) const;

  Trace trace_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::uint32_t> columns_;
  std::map<Key, std::vector<Cell>> rows_;
  struct RankProgress {
    std::int64_t attempt = 1;
    std::int64_t step = -1;
  };
  std::unordered_map<std::int32_t, RankProgress> progress_;
  std::map<std::int32_t, std::pair<std::string, std::string>> places_;
  std::int32_t world_size_ = 1;
  std::size_t samples_ = 0;
  std::size_t values_ = 0;
  std::int64_t corrected_ = 0;  // Values that a later one replaced.
};

// The standard metric of a column name ("lr", "grad norm", "step_time"), if it
// is one.
std::optional<Metric> StandardMetric(std::string_view name);
// The column name by which CSV is written: "step_time", "loss", ...
std::string_view StandardName(Metric metric);

}  // namespace steadyrun::replay
