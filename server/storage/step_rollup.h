#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

struct RollupOptions {
  // Steps of a run whose ranks are kept in full; older ones keep a summary.
  std::int64_t keep_step_rows = 20'000;
};

// Brings the pyramid of step summaries forward and drops the ranks of old
// steps, in bounded pieces: each call of Advance is one short transaction.
// One thread.
class StepRollup {
 public:
  explicit StepRollup(const RollupOptions& options) : options_(options) {}

  // True if there is more to do now.
  absl::StatusOr<bool> Advance(Database& database);

 private:
  struct Attempt {
    std::int64_t id = 0;
    std::int64_t newest_of_run = -1;  // Newest step of any attempt of the run.
    std::int64_t newest = -1;
    std::int64_t rolled_16 = 0;
    std::int64_t rolled_256 = 0;
    std::int64_t rows_from = 0;
  };

  absl::StatusOr<bool> RollStale(Database& database);
  absl::StatusOr<bool> Roll16(const Attempt& attempt, Database& database);
  absl::StatusOr<bool> Roll256(const Attempt& attempt, Database& database);
  absl::StatusOr<bool> DropRanks(const Attempt& attempt, Database& database);
  absl::StatusOr<std::vector<Attempt>> ReadAttempts(Database& database);

  const RollupOptions options_;
  bool has_seen_all_ = false;
};

}  // namespace steadyrun
