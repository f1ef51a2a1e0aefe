#pragma once

// The audit chain: each row carries the SHA-256 of the row before and itself,
// so that a changed, missing or inserted row is found. SQLite has no page
// checksums; this is what tells a damaged past from a true one.

#include <vector>

#include "absl/status/statusor.h"
#include "server/storage/history.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// Appends to the chain of one database, within the caller's transaction.
class AuditChain {
 public:
  absl::Status Append(const AuditEntry& entry, std::uint64_t server_epoch,
                      Database& database);
  // After a rollback: the next Append reads the end of the chain again.
  void Forget() { is_known_ = false; }
  // Of what was appended since the start; seq 0: nothing.
  const AuditHead& Head() const { return head_; }

 private:
  bool is_known_ = false;
  AuditHead head_;
};

absl::StatusOr<AuditHead> ReadAuditHead(Database& database);

// Newest first; an empty run: all.
absl::StatusOr<std::vector<StoredAudit>> LoadAudit(Database& database,
                                                   const RunId& run,
                                                   std::int32_t limit);

// Recomputes the hashes of the newest `rows` rows (all: rows = 0) and returns
// the head. DATA_LOSS names the first row that does not fit.
absl::StatusOr<AuditHead> VerifyAuditChain(Database& database,
                                           std::int64_t rows);

}  // namespace steadyrun
