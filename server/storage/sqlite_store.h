#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/storage/audit_table.h"
#include "server/storage/data_dir.h"
#include "server/storage/maintenance.h"
#include "server/storage/notice_store.h"
#include "server/storage/sqlite.h"
#include "server/storage/sqlite_history.h"
#include "server/storage/step_writer.h"
#include "server/storage/store.h"
#include "server/storage/write_gate.h"

namespace steadyrun {

struct StoreOptions {
  std::string data_dir;
  MaintenanceOptions maintenance;
  // Most time a start spends on looking for damage; the audit chain is always
  // looked at.
  Duration check_budget{std::chrono::seconds(1)};
  bool start_maintenance = true;  // False: the caller runs the rounds.
};

// The store in one SQLite file, in WAL mode with full syncs: what Apply has
// returned OK for survives a crash of the process and of the machine.
class SqliteStore final : public Store {
 public:
  // Takes the directory's lock, migrates and checks the database.
  // FAILED_PRECONDITION: in use, of a newer program, of another deployment, or
  // emptied; DATA_LOSS: damaged; RESOURCE_EXHAUSTED, UNAVAILABLE: as in Store.
  // Each message says what to do. `clock` outlives the store.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(
      const StoreOptions& options, const Clock* clock);
  ~SqliteStore() override;

  absl::StatusOr<Snapshot> Load(Now now) override;
  absl::Status Apply(std::span<const Change> changes, Now now) override;

  // For readers on other threads; lives as long as the store.
  History& history() { return *history_; }
  EventLog& events() { return *history_; }
  NoticeStore& notices() { return *notices_; }
  absl::Status RunMaintenanceRound() { return maintenance_->RunRound(); }

 private:
  SqliteStore(DataDirLock lock, std::unique_ptr<Database> database);

  absl::StatusOr<std::uint64_t> NextEpoch(Now now,
                                          const std::string& server_id);
  absl::Status ApplyInTransaction(std::span<const Change> changes, Now now);
  absl::Status SaveOne(const Change& change, Now now);

  DataDirLock lock_;
  std::unique_ptr<Database> database_;
  WriteGate gate_;
  StepWriter steps_;
  AuditChain audit_;
  AuditHead published_;  // Last written to the log.
  std::uint64_t server_epoch_ = 0;
  std::unique_ptr<SqliteHistory> history_;
  std::unique_ptr<NoticeStore> notices_;
  std::unique_ptr<Maintenance> maintenance_;
};

}  // namespace steadyrun
