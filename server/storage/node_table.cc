#include "server/storage/node_table.h"

#include "server/storage/state_codec.h"

namespace steadyrun {

absl::Status SaveNode(const NodeRecord& node, Database& database) {
  return database.Run(
      "INSERT INTO nodes (node, is_quarantined, record) VALUES (?1, ?2, ?3)"
      " ON CONFLICT (node) DO UPDATE SET is_quarantined = ?2, record = ?3",
      node.node, node.is_quarantined, Blob{EncodeNode(node)});
}

absl::StatusOr<std::vector<NodeRecord>> LoadNodes(Database& database) {
  std::vector<NodeRecord> nodes;
  RETURN_IF_ERROR(database.Query("SELECT record FROM nodes ORDER BY node",
                                 [&](const Row& row) -> absl::Status {
                                   ASSIGN_OR_RETURN(NodeRecord node,
                                                    DecodeNode(row.Bytes(0)));
                                   nodes.push_back(std::move(node));
                                   return absl::OkStatus();
                                 }));
  return nodes;
}

absl::Status SaveCursor(const NodeCursor& cursor, WallTime now,
                        Database& database) {
  return database.Run(
      "INSERT INTO node_cursors (node, boot_id, acked, updated_unix_ms)"
      " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (node, boot_id) DO UPDATE"
      " SET acked = max(acked, ?3), updated_unix_ms = ?4",
      cursor.node, cursor.boot_id, cursor.acked.value, ToUnixMillis(now));
}

absl::StatusOr<std::vector<NodeCursor>> LoadCursors(Database& database) {
  std::vector<NodeCursor> cursors;
  RETURN_IF_ERROR(database.Query(
      "SELECT node, boot_id, acked FROM node_cursors ORDER BY node, boot_id",
      [&](const Row& row) {
        cursors.push_back({NodeId(row.Text(0)),
                           std::string(row.Text(1)),
                           {static_cast<std::uint64_t>(row.Int(2))}});
        return absl::OkStatus();
      }));
  return cursors;
}

absl::Status PruneCursors(WallTime before, Database& database) {
  return database.Run(
      "DELETE FROM node_cursors WHERE updated_unix_ms < ? AND EXISTS"
      " (SELECT 1 FROM node_cursors newer WHERE newer.node = node_cursors.node"
      "  AND newer.updated_unix_ms > node_cursors.updated_unix_ms)",
      ToUnixMillis(before));
}

}  // namespace steadyrun
