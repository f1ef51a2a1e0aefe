#include "server/storage/sqlite_store.h"

#include <utility>
#include <variant>

#include "base/digest.h"
#include "base/status_macros.h"
#include "server/storage/checkpoint_table.h"
#include "server/storage/event_table.h"
#include "server/storage/incident_table.h"
#include "server/storage/last_changes.h"
#include "server/storage/migrations.h"
#include "server/storage/node_table.h"
#include "server/storage/record_table.h"
#include "server/storage/run_table.h"
#include "server/storage/self_check.h"
#include "server/storage/sqlite_history.h"
#include "spdlog/fmt/fmt.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

// Runs at most; beyond it the oldest ended ones are history only.
constexpr std::int64_t kMaxLoadedRuns = 100'000;
constexpr auto kRememberedRequests = std::chrono::hours(24 * 7);

absl::StatusOr<bool> HasTables(Database& database) {
  std::int64_t tables = 0;
  RETURN_IF_ERROR(
      database.Query("SELECT count(*) FROM sqlite_schema", [&](const Row& row) {
        tables = row.Int(0);
        return absl::OkStatus();
      }));
  return tables > 0;
}

absl::Status Configure(Database& database) {
  // The page size counts only for a new file; larger pages make the blobs of
  // wide runs cheaper. FULL: a commit is on the disk when it returns.
  return database.RunScript(
      "PRAGMA page_size = 8192;"
      "PRAGMA journal_mode = WAL;"
      "PRAGMA synchronous = FULL;"
      "PRAGMA foreign_keys = ON;"
      "PRAGMA wal_autocheckpoint = 0;"
      "PRAGMA journal_size_limit = 67108864;"
      "PRAGMA temp_store = MEMORY;"
      "PRAGMA cell_size_check = ON;"
      "PRAGMA cache_size = -16384;");
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(
    const StoreOptions& options, const Clock* clock) {
  ASSIGN_OR_RETURN(DataDirLock lock, DataDirLock::Acquire(options.data_dir));
  const std::string path = DatabasePath(options.data_dir);
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                   Database::Open(path, Database::Mode::kReadWrite));
  RETURN_IF_ERROR(DescribeDamage(Configure(*database), *database));
  const absl::StatusOr<bool> has_tables = HasTables(*database);
  RETURN_IF_ERROR(DescribeDamage(has_tables.status(), *database));
  const bool had_tables = *has_tables;
  if (had_tables) {
    RETURN_IF_ERROR(CheckForDamage(*database, options.check_budget));
  }
  RETURN_IF_ERROR(Migrate(*database));
  RETURN_IF_ERROR(CheckClusterId(options.data_dir, !had_tables,
                                 clock->WallNow(), *database));
  RETURN_IF_ERROR(CheckAudit(*database));
  std::unique_ptr<SqliteStore> store(
      new SqliteStore(std::move(lock), std::move(database)));
  store->history_ = std::make_unique<SqliteHistory>(path, clock);
  ASSIGN_OR_RETURN(store->notices_, NoticeStore::Open(path, &store->gate_));
  ASSIGN_OR_RETURN(
      store->maintenance_,
      Maintenance::Open(path, options.maintenance, &store->gate_, clock));
  if (options.start_maintenance) store->maintenance_->Start();
  return store;
}

SqliteStore::SqliteStore(DataDirLock lock, std::unique_ptr<Database> database)
    : lock_(std::move(lock)), database_(std::move(database)) {}

SqliteStore::~SqliteStore() {
  maintenance_.reset();
  notices_.reset();
  history_.reset();
}

absl::StatusOr<std::uint64_t> SqliteStore::NextEpoch(
    Now now, const std::string& server_id) {
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  std::uint64_t epoch = 0;
  RETURN_IF_ERROR(
      database_->Query("UPDATE deployment SET server_epoch = server_epoch + 1"
                       " RETURNING server_epoch",
                       [&](const Row& row) {
                         epoch = static_cast<std::uint64_t>(row.Int(0));
                         return absl::OkStatus();
                       }));
  if (epoch == 0) {
    return absl::DataLossError(fmt::format(
        "database '{}' has lost its deployment row: restore a backup",
        database_->path()));
  }
  RETURN_IF_ERROR(database_->Run(
      "INSERT INTO server_starts (server_epoch, server_id, started_unix_ms)"
      " VALUES (?, ?, ?)",
      epoch, server_id, ToUnixMillis(now.wall)));
  RETURN_IF_ERROR(transaction.Commit());
  return epoch;
}

absl::StatusOr<Snapshot> SqliteStore::Load(Now now) {
  absl::MutexLock lock(&gate_.mutex());
  Snapshot snapshot;
  // Anew at each start: of two copies of one database that are started, each
  // has the same epoch, and agents must tell them apart.
  snapshot.server_id = RandomHex64();
  ASSIGN_OR_RETURN(server_epoch_, NextEpoch(now, snapshot.server_id));
  snapshot.server_epoch = server_epoch_;
  ASSIGN_OR_RETURN(snapshot.runs,
                   LoadRuns(*database_, now.mono, kMaxLoadedRuns));
  ASSIGN_OR_RETURN(snapshot.open_incidents, LoadOpenIncidents(*database_));
  ASSIGN_OR_RETURN(snapshot.checkpoints, LoadLiveCheckpoints(*database_));
  ASSIGN_OR_RETURN(snapshot.nodes, LoadNodes(*database_));
  ASSIGN_OR_RETURN(snapshot.cursors, LoadCursors(*database_));
  ASSIGN_OR_RETURN(snapshot.requests,
                   LoadRequests(*database_, now.wall - kRememberedRequests));
  return snapshot;
}

absl::Status SqliteStore::Apply(std::span<const Change> changes, Now now) {
  if (changes.empty()) return absl::OkStatus();
  absl::MutexLock lock(&gate_.mutex());
  RETURN_IF_ERROR(gate_.Fatal());
  absl::Status status = ApplyInTransaction(changes, now);
  if (!status.ok()) {
    steps_.Forget();
    audit_.Forget();
    return gate_.Note(std::move(status));
  }
  // A second place for the end of the chain: rows that are cut off are missed.
  if (audit_.Head().seq != published_.seq) {
    published_ = audit_.Head();
    spdlog::info("audit grew seq={} hash={}", published_.seq, published_.hash);
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::ApplyInTransaction(std::span<const Change> changes,
                                             Now now) {
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  const LastChanges last(changes);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (last.IsOverwritten(i)) continue;
    RETURN_IF_ERROR(SaveOne(changes[i], now));
  }
  return transaction.Commit();
}

namespace {
template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;
}  // namespace

absl::Status SqliteStore::SaveOne(const Change& change, Now now) {
  Database& database = *database_;
  return std::visit(
      Overloaded{
          [&](const RunState& state) {
            return SaveRun(state, now.mono, database);
          },
          [&](const Incident& incident) {
            absl::Status status =
                AppendIncidentEvent(incident, now.wall, database);
            if (!status.ok()) return status;
            return SaveIncident(incident, database);
          },
          [&](const Checkpoint& checkpoint) {
            return SaveCheckpoint(checkpoint, database);
          },
          [&](const NodeRecord& node) { return SaveNode(node, database); },
          [&](const NodeCursor& cursor) {
            return SaveCursor(cursor, now.wall, database);
          },
          [&](const StepRow& row) { return steps_.Save(row, database); },
          [&](const Decision& decision) {
            absl::Status status = AppendEvent(decision, database);
            if (!status.ok()) return status;
            return SaveDecision(decision, database);
          },
          [&](const Page& page) {
            return AppendEvent(page, now.wall, database);
          },
          [&](const Mute& mute) { return SaveMute(mute, now.wall, database); },
          [&](const AuditEntry& entry) {
            return audit_.Append(entry, server_epoch_, database);
          },
          [&](const RequestDone& request) {
            return SaveRequest(request, now.wall, database);
          },
          [&](const RankFailed& failure) {
            return SaveRankFailure(failure, database);
          }},
      change);
}

}  // namespace steadyrun
