#include "server/storage/maintenance.h"

#include <sqlite3.h>

#include "absl/time/time.h"
#include "base/logging.h"
#include "server/storage/node_table.h"
#include "server/storage/record_table.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

constexpr auto kRoundInterval = absl::Milliseconds(500);
constexpr Duration kPruneInterval = std::chrono::minutes(10);
constexpr std::int64_t kPrunedPerPiece = 500;
// Pages of the log above which the writer is held up, for a few ms, to let the
// copy catch up: else a steady writer makes the log grow without end.
constexpr int kLogPagesBeforeGate = 4096;

}  // namespace

absl::StatusOr<std::unique_ptr<Maintenance>> Maintenance::Open(
    const std::string& path, const MaintenanceOptions& options, WriteGate* gate,
    const Clock* clock) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                   Database::Open(path, Database::Mode::kReadWrite));
  // NORMAL: what it writes can be made again, and the engine's next commit
  // syncs the same log.
  RETURN_IF_ERROR(
      database->RunScript("PRAGMA synchronous = NORMAL;"
                          "PRAGMA wal_autocheckpoint = 0;"
                          "PRAGMA foreign_keys = ON;"
                          "PRAGMA journal_size_limit = 67108864;"));
  return std::unique_ptr<Maintenance>(
      new Maintenance(std::move(database), options, gate, clock));
}

Maintenance::Maintenance(std::unique_ptr<Database> database,
                         const MaintenanceOptions& options, WriteGate* gate,
                         const Clock* clock)
    : database_(std::move(database)),
      options_(options),
      gate_(gate),
      clock_(clock),
      rollup_(options.rollup, database_.get(), gate) {}

Maintenance::~Maintenance() {
  {
    absl::MutexLock lock(&stop_mutex_);
    is_stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void Maintenance::Start() {
  thread_ = std::thread([this] { Loop(); });
}

bool Maintenance::IsStopping() const {
  absl::MutexLock lock(&stop_mutex_);
  return is_stopping_;
}

void Maintenance::Loop() {
  for (;;) {
    {
      absl::MutexLock lock(&stop_mutex_);
      if (stop_mutex_.AwaitWithTimeout(absl::Condition(&is_stopping_),
                                       kRoundInterval)) {
        return;
      }
    }
    const absl::Status status = RunRound();
    const std::string error(status.ok() ? "" : std::string(status.message()));
    if (error != last_error_ && !error.empty()) {
      spdlog::warn("database maintenance failed {}", Kv("error", error));
    }
    last_error_ = error;
  }
}

absl::Status Maintenance::RunRound() {
  const absl::Status rolled = rollup_.RunRound([this] { return IsStopping(); });
  const absl::Status pruned = Prune();
  // Also when the disk is full: it is what gives space back.
  const absl::Status copied = CopyBackLog();
  RETURN_IF_ERROR(rolled);
  RETURN_IF_ERROR(pruned);
  return copied;
}

absl::Status Maintenance::Prune() {
  const Now now = clock_->Both();
  if (now.mono < next_prune_) return absl::OkStatus();
  const WallTime before =
      now.wall - std::chrono::hours(24 * options_.keep_days);
  // The engine asks for those of the last 7 days.
  const WallTime week_ago = now.wall - std::chrono::hours(24 * 8);
  for (bool is_done = false; !is_done && !IsStopping();) {
    absl::MutexLock lock(&gate_->mutex());
    ASSIGN_OR_RETURN(
        is_done, PruneRecords(before, week_ago, kPrunedPerPiece, *database_));
  }
  {
    absl::MutexLock lock(&gate_->mutex());
    RETURN_IF_ERROR(gate_->Note(PruneCursors(week_ago, *database_)));
  }
  next_prune_ = now.mono + kPruneInterval;
  return absl::OkStatus();
}

absl::Status Maintenance::CopyBackLog() {
  int log_pages = 0;
  int copied_pages = 0;
  const auto copy = [&] {
    const int code = sqlite3_wal_checkpoint_v2(database_->handle(), nullptr,
                                               SQLITE_CHECKPOINT_PASSIVE,
                                               &log_pages, &copied_pages);
    // Busy: a reader or writer is in the way; the next round goes on.
    if (code == SQLITE_BUSY) return absl::OkStatus();
    return database_->StatusOf(code, "copy the write-ahead log back");
  };
  absl::Status status = copy();
  if (status.ok() && log_pages > kLogPagesBeforeGate &&
      copied_pages < log_pages) {
    absl::MutexLock lock(&gate_->mutex());
    status = copy();
  }
  absl::MutexLock lock(&gate_->mutex());
  return gate_->Note(status);
}

}  // namespace steadyrun
