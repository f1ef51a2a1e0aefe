#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "server/model/records.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

absl::Status SaveNode(const NodeRecord& node, Database& database);
absl::StatusOr<std::vector<NodeRecord>> LoadNodes(Database& database);

// A cursor only moves forward: a smaller `acked` than the stored is ignored.
absl::Status SaveCursor(const NodeCursor& cursor, WallTime now,
                        Database& database);
absl::StatusOr<std::vector<NodeCursor>> LoadCursors(Database& database);
// Cursors of lives that are over: older than `before`, but for the newest of
// each node.
absl::Status PruneCursors(WallTime before, Database& database);

}  // namespace steadyrun
