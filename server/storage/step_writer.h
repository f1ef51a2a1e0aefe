#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/model/step_row.h"
#include "server/storage/metric_names.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// Writes step rows within the caller's transaction. A row for a step that is
// stored already brings late ranks: they are merged in, what was there stays,
// so the same reports applied twice change nothing.
class StepWriter {
 public:
  absl::Status Save(const StepRow& row, Database& database);
  // After a rollback: what the caches say may not be in the database.
  void Forget();

 private:
  struct Attempt {
    std::int64_t id = 0;
    std::int64_t newest_step = -1;
  };

  absl::StatusOr<Attempt*> FindAttempt(const StepRow& row, Database& database);
  absl::StatusOr<Attempt> LoadAttempt(const StepRow& row, Database& database);
  absl::Status SaveOutOfOrder(const StepRow& row, std::int64_t attempt_id,
                              Database& database);
  absl::Status SaveSummary(const StepRow& row, std::int64_t key,
                           Database& database);
  absl::Status SaveRanks(const StepRow& row, std::int64_t key,
                         Database& database);

  std::map<std::pair<RunId, AttemptId>, Attempt> attempts_;
  MetricNames names_;
  std::string buffer_;
  std::vector<std::uint32_t> columns_;
};

}  // namespace steadyrun
