#include "server/storage/sqlite_history.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "server/storage/audit_table.h"
#include "server/storage/checkpoint_table.h"
#include "server/storage/event_table.h"
#include "server/storage/incident_table.h"
#include "server/storage/migrations.h"
#include "server/storage/rank_reader.h"
#include "server/storage/record_table.h"
#include "server/storage/run_table.h"
#include "server/storage/step_reader.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr std::int64_t kMaxRuns = kMaxListed;

std::int32_t Bounded(std::int32_t limit) {
  return std::clamp(limit, 1, kMaxListed);
}

}  // namespace

SqliteHistory::SqliteHistory(std::string path, const Clock* clock)
    : path_(std::move(path)), clock_(clock) {}

SqliteHistory::~SqliteHistory() = default;

absl::StatusOr<std::unique_ptr<SqliteHistory::Reader>> SqliteHistory::Take() {
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](SqliteHistory* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
          return self->MayTake();
        },
        this));
    if (!idle_.empty()) {
      std::unique_ptr<Reader> reader = std::move(idle_.back());
      idle_.pop_back();
      return reader;
    }
    ++opened_;
  }
  auto reader = std::make_unique<Reader>();
  absl::StatusOr<std::unique_ptr<Database>> database =
      Database::Open(path_, Database::Mode::kReadOnly);
  if (!database.ok()) {
    absl::MutexLock lock(&mutex_);
    --opened_;
    return database.status();
  }
  reader->database = *std::move(database);
  return reader;
}

void SqliteHistory::GiveBack(std::unique_ptr<Reader> reader) {
  absl::MutexLock lock(&mutex_);
  idle_.push_back(std::move(reader));
}

absl::Status SqliteHistory::Read(
    absl::FunctionRef<absl::Status(Reader&)> read) {
  ASSIGN_OR_RETURN(std::unique_ptr<Reader> reader, Take());
  absl::Status status = reader->database->Run("BEGIN");
  if (status.ok()) {
    status = read(*reader);
    // Ends the read; a snapshot held on to would keep the log from shrinking.
    const absl::Status ended = reader->database->Run("COMMIT");
    if (status.ok()) status = ended;
  }
  GiveBack(std::move(reader));
  return status;
}

template <typename T, typename F>
absl::StatusOr<T> SqliteHistory::ReadValue(F read) {
  T value{};
  RETURN_IF_ERROR(Read([&](Reader& reader) -> absl::Status {
    ASSIGN_OR_RETURN(value, read(reader));
    return absl::OkStatus();
  }));
  return value;
}

absl::StatusOr<std::vector<RunState>> SqliteHistory::Runs() {
  return ReadValue<std::vector<RunState>>([&](Reader& reader) {
    return LoadRuns(*reader.database, clock_->MonoNow(), kMaxRuns);
  });
}

absl::StatusOr<RunState> SqliteHistory::Run(const RunId& run) {
  return ReadValue<RunState>([&](Reader& reader) {
    return LoadRun(*reader.database, run, clock_->MonoNow());
  });
}

absl::StatusOr<std::vector<Incident>> SqliteHistory::Incidents(
    const IncidentFilter& filter) {
  IncidentFilter bounded = filter;
  bounded.limit = Bounded(filter.limit);
  return ReadValue<std::vector<Incident>>(
      [&](Reader& reader) { return LoadIncidents(*reader.database, bounded); });
}

absl::StatusOr<std::vector<StoredEvent>> SqliteHistory::Events(
    const EventQuery& query) {
  return ReadValue<std::vector<StoredEvent>>(
      [&](Reader& reader) { return LoadEvents(*reader.database, query); });
}

absl::StatusOr<std::int64_t> SqliteHistory::NewestEvent() {
  return ReadValue<std::int64_t>(
      [&](Reader& reader) { return steadyrun::NewestEvent(*reader.database); });
}

absl::StatusOr<Incident> SqliteHistory::FindIncident(const RunId& run,
                                                     std::int64_t number) {
  return ReadValue<Incident>([&](Reader& reader) {
    return LoadIncident(*reader.database, run, number);
  });
}

absl::StatusOr<std::vector<Checkpoint>> SqliteHistory::Checkpoints(
    const RunId& run) {
  return ReadValue<std::vector<Checkpoint>>(
      [&](Reader& reader) { return LoadCheckpoints(*reader.database, run); });
}

absl::StatusOr<std::vector<Decision>> SqliteHistory::Decisions(
    const RunId& run, std::int32_t limit) {
  return ReadValue<std::vector<Decision>>([&](Reader& reader) {
    return LoadDecisions(*reader.database, run, Bounded(limit));
  });
}

absl::StatusOr<std::vector<StoredRankFailure>> SqliteHistory::RankFailures(
    const RunId& run, std::int32_t limit) {
  ASSIGN_OR_RETURN(std::vector<RankFailed> failures,
                   ReadValue<std::vector<RankFailed>>([&](Reader& reader) {
                     return LoadRankFailures(*reader.database, run,
                                             Bounded(limit));
                   }));
  std::vector<StoredRankFailure> stored;
  for (RankFailed& failure : failures) {
    stored.push_back({std::move(failure.exit), failure.node, failure.at});
  }
  return stored;
}

absl::StatusOr<std::vector<StepBucket>> SqliteHistory::Steps(
    const StepQuery& query) {
  return ReadValue<std::vector<StepBucket>>(
      [&](Reader& reader) { return ReadCurve(query, *reader.database); });
}

absl::StatusOr<StepRow> SqliteHistory::FindStep(const RunId& run, Step step) {
  return ReadValue<StepRow>([&](Reader& reader) {
    return ReadStep(run, step, &reader.names, *reader.database);
  });
}

absl::StatusOr<std::vector<RankPoint>> SqliteHistory::RankSeries(
    const RankQuery& query) {
  return ReadValue<std::vector<RankPoint>>(
      [&](Reader& reader) { return ReadRankSeries(query, *reader.database); });
}

absl::StatusOr<std::vector<StepRow>> SqliteHistory::Rows(
    const RowQuery& query) {
  RowQuery bounded = query;
  bounded.limit = std::clamp(query.limit, 1, kMaxRowPage);
  return ReadValue<std::vector<StepRow>>([&](Reader& reader) {
    return ReadRowPage(bounded, &reader.names, *reader.database);
  });
}

absl::StatusOr<RankMatrix> SqliteHistory::Matrix(const RankMatrixQuery& query) {
  return ReadValue<RankMatrix>(
      [&](Reader& reader) { return ReadMatrix(query, *reader.database); });
}

absl::StatusOr<std::vector<std::string>> SqliteHistory::Metrics(
    const RunId& run) {
  return ReadValue<std::vector<std::string>>([&](Reader& reader) {
    return ReadMetricNames(run, &reader.names, *reader.database);
  });
}

absl::StatusOr<MetricCurve> SqliteHistory::MetricSeries(
    const MetricQuery& query) {
  return ReadValue<MetricCurve>([&](Reader& reader) {
    return ReadMetricCurve(query, &reader.names, *reader.database);
  });
}

absl::StatusOr<std::vector<StoredAudit>> SqliteHistory::Audit(
    const RunId& run, std::int32_t limit) {
  return ReadValue<std::vector<StoredAudit>>([&](Reader& reader) {
    return LoadAudit(*reader.database, run, Bounded(limit));
  });
}

absl::StatusOr<AuditHead> SqliteHistory::VerifyAudit() {
  return ReadValue<AuditHead>([&](Reader& reader) {
    return VerifyAuditChain(*reader.database, /*rows=*/0);
  });
}

int SqliteHistory::SchemaVersion() const { return NewestSchemaVersion(); }

std::int64_t SqliteHistory::DiskBytes() const {
  std::int64_t bytes = 0;
  for (const char* suffix : {"", "-wal"}) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path_ + suffix, error);
    if (!error) bytes += static_cast<std::int64_t>(size);
  }
  return bytes;
}

}  // namespace steadyrun
