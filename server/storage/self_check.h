#pragma once

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// SQLite's quick_check, the small tables first, for at most `budget`: a
// history of many GB is looked at as far as the time goes, with a line in the
// log. DATA_LOSS says what was found and what to do.
absl::Status CheckForDamage(Database& database, Duration budget);

// An error of reading: what to do about it if the file is damaged; else as it
// is.
absl::Status DescribeDamage(const absl::Status& status,
                            const Database& database);

// The newest rows of the audit chain. DATA_LOSS as VerifyAuditChain.
absl::Status CheckAudit(Database& database);

}  // namespace steadyrun
