#pragma once

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "server/storage/sqlite.h"
#include "server/storage/write_gate.h"

namespace steadyrun {

struct RollupOptions {
  // Steps of a run whose ranks are kept in full; older ones keep a summary.
  std::int64_t keep_step_rows = 20'000;
};

// Brings the pyramid of step summaries forward and drops the ranks of old
// steps, in bounded pieces: each is one short transaction, and the gate is
// held only for its length. One thread.
class StepRollup {
 public:
  // `database` and `gate` outlive this.
  StepRollup(const RollupOptions& options, Database* database, WriteGate* gate)
      : options_(options), database_(*database), gate_(*gate) {}

  // All that is due, or as much of it as a round may do; ends early when
  // `should_stop` says so.
  absl::Status RunRound(absl::FunctionRef<bool()> should_stop);

 private:
  struct Attempt {
    std::int64_t id = 0;
    std::int64_t newest_of_run = -1;  // Newest step of any attempt of the run.
    std::int64_t newest = -1;
    std::int64_t rolled_16 = 0;
    std::int64_t rolled_256 = 0;
    std::int64_t rows_from = 0;
  };

  // One piece each: true if there was something to do.
  absl::StatusOr<bool> RollStale();
  absl::StatusOr<bool> Roll16(Attempt* attempt);
  absl::StatusOr<bool> Roll256(Attempt* attempt);
  absl::StatusOr<bool> DropRanks(Attempt* attempt);
  absl::StatusOr<bool> Advance(Attempt* attempt);

  absl::StatusOr<std::vector<Attempt>> ReadAttempts();
  absl::Status Write(absl::FunctionRef<absl::Status()> write);

  const RollupOptions options_;
  Database& database_;
  WriteGate& gate_;
  bool has_seen_all_ = false;
};

}  // namespace steadyrun
