#pragma once

#include <span>

#include "absl/status/status.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

struct Migration {
  const char* name;  // "0001_initial.sql"
  const char* sql;
};
// In order; migration i brings the schema to version i + 1. Embedded.
std::span<const Migration> AllMigrations();

inline int NewestSchemaVersion() {
  return static_cast<int>(AllMigrations().size());
}

absl::StatusOr<int> SchemaVersionOf(Database& database);

// Brings the schema up to date, each migration in a transaction of its own,
// all of it or nothing. FAILED_PRECONDITION when the file is of a newer
// program or of another one altogether; nothing is changed then.
absl::Status Migrate(Database& database);

}  // namespace steadyrun
