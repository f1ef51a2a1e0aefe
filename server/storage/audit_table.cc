#include "server/storage/audit_table.h"

#include "base/digest.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// Each field with its length in front, so that no two rows look alike.
void AppendField(std::string_view text, std::string* out) {
  *out += fmt::format("{}:", text.size());
  *out += text;
}

std::string HashOf(std::string_view prev_hash, std::int64_t seq,
                   std::uint64_t server_epoch, const AuditEntry& entry) {
  std::string row;
  AppendField(prev_hash, &row);
  AppendField(
      fmt::format("{} {} {}", seq, server_epoch, ToUnixMillis(entry.at)), &row);
  for (const std::string* text :
       {&entry.actor, &entry.action, &entry.run, &entry.reason, &entry.outcome,
        &entry.request_id}) {
    AppendField(*text, &row);
  }
  return Sha256Hex(row);
}

StoredAudit ReadRow(const Row& row) {
  StoredAudit stored;
  stored.seq = row.Int(0);
  stored.server_epoch = static_cast<std::uint64_t>(row.Int(1));
  stored.entry.at = FromUnixMillis(row.Int(2));
  stored.entry.actor = row.Text(3);
  stored.entry.action = row.Text(4);
  stored.entry.run = row.Text(5);
  stored.entry.reason = row.Text(6);
  stored.entry.outcome = row.Text(7);
  stored.entry.request_id = row.Text(8);
  stored.hash = row.Text(9);
  return stored;
}

}  // namespace

absl::Status AuditChain::Append(const AuditEntry& entry,
                                std::uint64_t server_epoch,
                                Database& database) {
  if (!is_known_) {
    ASSIGN_OR_RETURN(head_, ReadAuditHead(database));
    is_known_ = true;
  }
  const std::int64_t seq = head_.seq + 1;
  const std::string hash = HashOf(head_.hash, seq, server_epoch, entry);
  RETURN_IF_ERROR(database.Run(
      "INSERT INTO audit (seq, server_epoch, at_unix_ms, actor, action, run,"
      " reason, outcome, request_id, prev_hash, hash)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      seq, server_epoch, ToUnixMillis(entry.at), entry.actor, entry.action,
      entry.run, entry.reason, entry.outcome, entry.request_id, head_.hash,
      hash));
  head_ = {seq, hash};
  return absl::OkStatus();
}

absl::StatusOr<AuditHead> ReadAuditHead(Database& database) {
  AuditHead head;
  RETURN_IF_ERROR(
      database.Query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1",
                     [&](const Row& row) {
                       head = {row.Int(0), std::string(row.Text(1))};
                       return absl::OkStatus();
                     }));
  return head;
}

absl::StatusOr<std::vector<StoredAudit>> LoadAudit(Database& database,
                                                   const RunId& run,
                                                   std::int32_t limit) {
  std::vector<StoredAudit> rows;
  const auto read = [&](const Row& row) {
    rows.push_back(ReadRow(row));
    return absl::OkStatus();
  };
  if (run.empty()) {
    RETURN_IF_ERROR(database.Query(
        "SELECT seq, server_epoch, at_unix_ms, actor, action, run, reason,"
        " outcome, request_id, hash FROM audit ORDER BY seq DESC LIMIT ?",
        read, limit));
  } else {
    RETURN_IF_ERROR(database.Query(
        "SELECT seq, server_epoch, at_unix_ms, actor, action, run, reason,"
        " outcome, request_id, hash FROM audit WHERE run = ?"
        " ORDER BY seq DESC LIMIT ?",
        read, run, limit));
  }
  return rows;
}

absl::StatusOr<AuditHead> VerifyAuditChain(Database& database,
                                           std::int64_t rows) {
  ASSIGN_OR_RETURN(const AuditHead end, ReadAuditHead(database));
  const std::int64_t first =
      rows == 0 ? 1 : std::max<std::int64_t>(1, end.seq - rows + 1);
  // Row 1 follows nothing; a later first row is anchored to the one before.
  AuditHead head{first - 1, ""};
  RETURN_IF_ERROR(database.Query(
      "SELECT hash FROM audit WHERE seq = ?",
      [&](const Row& row) {
        head.hash = row.Text(0);
        return absl::OkStatus();
      },
      first - 1));
  RETURN_IF_ERROR(database.Query(
      "SELECT seq, server_epoch, at_unix_ms, actor, action, run, reason,"
      " outcome, request_id, hash FROM audit WHERE seq >= ? ORDER BY seq",
      [&](const Row& row) -> absl::Status {
        const StoredAudit stored = ReadRow(row);
        const std::int64_t expected = head.seq + 1;
        const std::string hash =
            HashOf(head.hash, expected, stored.server_epoch, stored.entry);
        if (stored.seq != expected || stored.hash != hash) {
          return absl::DataLossError(fmt::format(
              "audit of '{}': row {} does not follow row {}: a row was "
              "changed, removed or inserted. Compare with a backup; see "
              "docs/runbooks/storage.md",
              database.path(), stored.seq, head.seq));
        }
        head = {stored.seq, stored.hash};
        return absl::OkStatus();
      },
      first));
  return head;
}

}  // namespace steadyrun
