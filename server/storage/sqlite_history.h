#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/storage/event_log.h"
#include "server/storage/history.h"
#include "server/storage/metric_names.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// History over read-only connections, opened as needed and kept, at most
// kMaxReaders of them: more callers wait for one.
class SqliteHistory final : public History, public EventLog {
 public:
  // `clock` outlives this; the database exists and is migrated.
  SqliteHistory(std::string path, const Clock* clock);
  ~SqliteHistory() override;

  absl::StatusOr<std::vector<RunState>> Runs() override;
  absl::StatusOr<RunState> Run(const RunId& run) override;
  absl::StatusOr<std::vector<Incident>> Incidents(
      const IncidentFilter& filter) override;
  absl::StatusOr<Incident> FindIncident(const RunId& run,
                                        std::int64_t number) override;
  absl::StatusOr<std::vector<Checkpoint>> Checkpoints(
      const RunId& run) override;
  absl::StatusOr<std::vector<Decision>> Decisions(const RunId& run,
                                                  std::int32_t limit) override;
  absl::StatusOr<std::vector<StoredRankFailure>> RankFailures(
      const RunId& run, std::int32_t limit) override;
  absl::StatusOr<std::vector<StepBucket>> Steps(
      const StepQuery& query) override;
  absl::StatusOr<StepRow> FindStep(const RunId& run, Step step) override;
  absl::StatusOr<std::vector<RankPoint>> RankSeries(
      const RankQuery& query) override;
  absl::StatusOr<std::vector<StepRow>> Rows(const RowQuery& query) override;
  absl::StatusOr<RankMatrix> Matrix(const RankMatrixQuery& query) override;
  absl::StatusOr<std::vector<std::string>> Metrics(const RunId& run) override;
  absl::StatusOr<MetricCurve> MetricSeries(const MetricQuery& query) override;
  absl::StatusOr<std::vector<StoredAudit>> Audit(const RunId& run,
                                                 std::int32_t limit) override;
  absl::StatusOr<AuditHead> VerifyAudit() override;
  absl::StatusOr<std::vector<StoredEvent>> Events(
      const EventQuery& query) override;
  absl::StatusOr<std::int64_t> NewestEvent() override;
  int SchemaVersion() const override;
  std::string Path() const override { return path_; }
  std::int64_t DiskBytes() const override;

 private:
  // A connection with its cache of names; one caller at a time.
  struct Reader {
    std::unique_ptr<Database> database;
    MetricNames names;
  };
  static constexpr int kMaxReaders = 4;

  absl::StatusOr<std::unique_ptr<Reader>> Take() ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveBack(std::unique_ptr<Reader> reader) ABSL_LOCKS_EXCLUDED(mutex_);
  bool MayTake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !idle_.empty() || opened_ < kMaxReaders;
  }

  // Calls `read` with a reader, within one read transaction so that several
  // queries see the same state.
  absl::Status Read(absl::FunctionRef<absl::Status(Reader&)> read);
  // The same for a function that returns a StatusOr<T>.
  template <typename T, typename F>
  absl::StatusOr<T> ReadValue(F read);

  const std::string path_;
  const Clock* const clock_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Reader>> idle_ ABSL_GUARDED_BY(mutex_);
  int opened_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace steadyrun
