#pragma once

// What people and the web ask of the past. Plain values; the live picture
// comes from EngineView.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/ids.h"
#include "proto/messages/messages.h"
#include "server/model/checkpoint.h"
#include "server/model/incident.h"
#include "server/model/records.h"
#include "server/model/run_state.h"
#include "server/model/step_row.h"

namespace steadyrun {

struct IncidentFilter {
  RunId run;  // Empty: all runs.
  bool only_open = false;
  std::int32_t limit = 1000;  // Newest first; at most kMaxListed.
};
inline constexpr std::int32_t kMaxListed = 10'000;

// The curve of a run. Steps that a later attempt made again count once, as the
// newest attempt made them.
struct StepQuery {
  RunId run;
  Step from{0};
  Step to = kNoStep;                // kNoStep: to the newest.
  std::int32_t max_buckets = 1000;  // At most kMaxBuckets.
  // Instead, only what a later attempt made again, as it was then.
  bool abandoned = false;
};
inline constexpr std::int32_t kMaxBuckets = 10'000;

// One step, or several neighbouring ones.
struct StepBucket {
  Step first;
  Step last;
  AttemptId attempt;  // That made the last of them.
  std::int64_t steps = 0;
  double loss = 0;  // Mean of the finite ones; NaN if there is none.
  double loss_min = 0;
  double loss_max = 0;
  std::int64_t nonfinite = 0;  // Steps whose loss or gradient norm is not.
  double grad_norm = 0;        // Highest finite one; NaN if there is none.
  double step_seconds = 0;     // Mean over steps of the median over ranks.
  double step_seconds_max = 0;
  double tokens = 0;
  std::int32_t slowest_rank = -1;  // Of the step with step_seconds_max.
  WallTime ended;
};

struct RankPoint {
  Step step;
  AttemptId attempt;
  float value = 0;  // NaN is a value.
};
struct RankQuery {
  RunId run;
  Rank rank = kNoRank;
  Metric metric = Metric::kStepSeconds;
  Step from{0};
  Step to = kNoStep;
};

// Rows in full of all attempts, in order of attempt and step: what happened,
// where StepQuery asks for what counts.
struct RowQuery {
  RunId run;
  // Only what comes after this row.
  AttemptId attempt{};
  Step step = kNoStep;
  std::int32_t limit = 256;  // At most kMaxRowPage.
};
inline constexpr std::int32_t kMaxRowPage = 1024;
// A page ends early when its rows hold this many values (64 MB).
inline constexpr std::size_t kMaxPageValues = std::size_t{16} << 20;
// Step time of each rank over the step's median, pooled by maximum.
struct RankMatrixQuery {
  RunId run;
  Step from{0};
  Step to = kNoStep;
  std::int32_t max_rows = 300;  // These two: 1 to kMaxMatrixSide.
  std::int32_t max_columns = 500;
};
inline constexpr std::int32_t kMaxMatrixSide = 1000;
struct SlowRank {
  std::int32_t rank = -1;
  double mean_ratio = 0;
  double worst_ratio = 0;
  Step worst_step;
  double mean_seconds = 0;
};
struct RankMatrix {
  std::int32_t rows = 0;
  std::int32_t columns = 0;
  // Row by row: 0 nothing reported; else 1 + 254 * where the ratio lies
  // between kLow and kHigh, clipped.
  std::string cells;
  std::int32_t world_size = 0;
  std::int32_t ranks_per_row = 1;
  std::int64_t steps_per_column = 1;
  Step first;
  Step last;
  std::int64_t steps = 0;
  std::vector<SlowRank> slowest;  // By mean_ratio, at most kSlowest.
  std::string narrowed;           // Why older steps are not in it, if so.

  // A healthy rank is within some per cent of the median; one that is half as
  // slow again is what people look for.
  static constexpr double kLow = 0.9;
  static constexpr double kHigh = 1.5;
  static constexpr std::size_t kSlowest = 10;
};

// A metric over all ranks of a step, by its name: one of training's own
// ("learning_rate", "tokens", ...) or one the training code named.
struct MetricQuery {
  RunId run;
  std::string name;
  Step from{0};
  Step to = kNoStep;
  std::int32_t max_buckets = 1000;
};
struct MetricBucket {
  Step last;
  AttemptId attempt;
  double mean = 0;  // Of the finite values; NaN if there is none.
  double min = 0;
  double max = 0;
  std::int64_t values = 0;  // Finite ones.
  std::int64_t nonfinite = 0;
};
struct MetricCurve {
  std::vector<MetricBucket> buckets;
  std::string narrowed;
};
// Rows of all ranks that one query may read: some tenths of a second. What is
// older is left out, and `narrowed` says so.
inline constexpr std::int64_t kMaxRowBytes = 256 << 20;

struct StoredAudit {
  std::int64_t seq = 0;  // 1, 2, 3, ... without gaps.
  std::uint64_t server_epoch = 0;
  AuditEntry entry;
  std::string hash;  // SHA-256 over the previous hash and this row.
};
// The end of the chain; publish it elsewhere and a cut becomes visible.
struct AuditHead {
  std::int64_t seq = 0;
  std::string hash;
};

struct StoredRankFailure {
  RankExited exit;
  NodeId node;
  WallTime at;
};

// Read-only and thread-safe: any thread, at any time, beside the engine's
// commits. Sees what is committed. Errors: NOT_FOUND (no such run, incident or
// step), INVALID_ARGUMENT (limits), UNAVAILABLE (the disk cannot be read),
// DATA_LOSS (a row does not decode or does not match its hash).
class History {
 public:
  virtual ~History() = default;

  virtual absl::StatusOr<std::vector<RunState>> Runs() = 0;  // Newest first.
  virtual absl::StatusOr<RunState> Run(const RunId& run) = 0;
  virtual absl::StatusOr<std::vector<Incident>> Incidents(
      const IncidentFilter& filter) = 0;
  virtual absl::StatusOr<Incident> FindIncident(const RunId& run,
                                                std::int64_t number) = 0;
  // By step, newest last.
  virtual absl::StatusOr<std::vector<Checkpoint>> Checkpoints(
      const RunId& run) = 0;
  virtual absl::StatusOr<std::vector<Decision>> Decisions(
      const RunId& run, std::int32_t limit) = 0;  // Newest first.
  virtual absl::StatusOr<std::vector<StoredRankFailure>> RankFailures(
      const RunId& run, std::int32_t limit) = 0;  // Newest first.

  virtual absl::StatusOr<std::vector<StepBucket>> Steps(
      const StepQuery& query) = 0;
  // All ranks of one step, of the newest attempt that made it. NOT_FOUND when
  // retention has rolled it up.
  virtual absl::StatusOr<StepRow> FindStep(const RunId& run, Step step) = 0;
  // At most kMaxRankPoints, the newest; a step that was rolled up is absent.
  virtual absl::StatusOr<std::vector<RankPoint>> RankSeries(
      const RankQuery& query) = 0;

  // The next page; empty at the end. Each page is a read of its own, so that a
  // long reading does not hold back the write-ahead log. Steps that retention
  // has rolled up are absent.
  virtual absl::StatusOr<std::vector<StepRow>> Rows(const RowQuery& query) = 0;
  virtual absl::StatusOr<RankMatrix> Matrix(const RankMatrixQuery& query) = 0;
  // Names seen in the newest steps, sorted, at most kMaxMetricNames.
  virtual absl::StatusOr<std::vector<std::string>> Metrics(
      const RunId& run) = 0;
  // NOT_FOUND: no such name in any step.
  virtual absl::StatusOr<MetricCurve> MetricSeries(
      const MetricQuery& query) = 0;

  // Newest first; an empty run: all.
  virtual absl::StatusOr<std::vector<StoredAudit>> Audit(
      const RunId& run, std::int32_t limit) = 0;
  // Reads the whole chain. DATA_LOSS names the first row that does not fit.
  virtual absl::StatusOr<AuditHead> VerifyAudit() = 0;

  virtual int SchemaVersion() const = 0;
  virtual std::string Path() const = 0;
  // Bytes of the database and its write-ahead log on disk.
  virtual std::int64_t DiskBytes() const = 0;
};
inline constexpr std::size_t kMaxRankPoints = 20'000;
inline constexpr std::size_t kMaxMetricNames = 256;

}  // namespace steadyrun
