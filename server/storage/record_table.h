#pragma once

// Records that are written once: decisions, carried-out requests, rank exits.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/effect.h"
#include "server/model/records.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

absl::Status SaveDecision(const Decision& decision, Database& database);
absl::StatusOr<std::vector<Decision>> LoadDecisions(Database& database,
                                                    const RunId& run,
                                                    std::int32_t limit);

// A request_id is carried out once: the first reply stays.
absl::Status SaveRequest(const RequestDone& request, WallTime now,
                         Database& database);
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> LoadRequests(
    Database& database, WallTime since);

absl::Status SaveRankFailure(const RankFailed& failure, Database& database);
absl::StatusOr<std::vector<RankFailed>> LoadRankFailures(Database& database,
                                                         const RunId& run,
                                                         std::int32_t limit);

// Deletes at most `limit` rows of each table that are older than `before`
// (requests: `requests_before`). True if that was all there was.
absl::StatusOr<bool> PruneRecords(WallTime before, WallTime requests_before,
                                  std::int64_t limit, Database& database);

}  // namespace steadyrun
