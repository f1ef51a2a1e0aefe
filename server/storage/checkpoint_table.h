#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "server/model/checkpoint.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

absl::Status SaveCheckpoint(const Checkpoint& checkpoint, Database& database);
// By step, then attempt.
absl::StatusOr<std::vector<Checkpoint>> LoadCheckpoints(Database& database,
                                                        const RunId& run);
// Of all runs that are not ended.
absl::StatusOr<std::vector<Checkpoint>> LoadLiveCheckpoints(Database& database);

}  // namespace steadyrun
