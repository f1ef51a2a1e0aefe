#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/storage/sqlite.h"
#include "server/storage/step_rollup.h"
#include "server/storage/write_gate.h"

namespace steadyrun {

struct MaintenanceOptions {
  RollupOptions rollup;
  // Decisions and rank failures older than this are deleted; incidents, the
  // audit and step summaries are kept for ever.
  int keep_days = 90;
};

// What keeps the database in shape, on a thread and a connection of its own:
// copies the write-ahead log back into the database file (a checkpoint, in
// SQLite's words), rolls steps up, deletes what is too old.
class Maintenance {
 public:
  // `gate` and `clock` outlive this.
  static absl::StatusOr<std::unique_ptr<Maintenance>> Open(
      const std::string& path, const MaintenanceOptions& options,
      WriteGate* gate, const Clock* clock);
  ~Maintenance();

  // Runs rounds until destroyed.
  void Start();
  // All that is due now. Called by Start's thread, or by tests instead of it.
  absl::Status RunRound();

 private:
  Maintenance(std::unique_ptr<Database> database,
              const MaintenanceOptions& options, WriteGate* gate,
              const Clock* clock);

  void Loop();
  bool IsStopping() const ABSL_LOCKS_EXCLUDED(stop_mutex_);
  absl::Status Prune();
  absl::Status CopyBackLog();

  const std::unique_ptr<Database> database_;
  const MaintenanceOptions options_;
  WriteGate* const gate_;
  const Clock* const clock_;
  StepRollup rollup_;
  MonoTime next_prune_{};
  std::string last_error_;

  mutable absl::Mutex stop_mutex_;
  bool is_stopping_ ABSL_GUARDED_BY(stop_mutex_) = false;
  std::thread thread_;
};

}  // namespace steadyrun
