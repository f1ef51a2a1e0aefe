#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "server/model/run_state.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

absl::Status SaveRun(const RunState& state, MonoTime now, Database& database);
// Newest first; at most `limit`.
absl::StatusOr<std::vector<RunState>> LoadRuns(Database& database, MonoTime now,
                                               std::int64_t limit);
// NOT_FOUND names the run.
absl::StatusOr<RunState> LoadRun(Database& database, const RunId& run,
                                 MonoTime now);

}  // namespace steadyrun
