#include "server/storage/migrations.h"

#include "spdlog/fmt/fmt.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

// "SRUN": marks the file as ours, for file(1) and for the check below.
constexpr std::int64_t kApplicationId = 0x5352554e;

absl::StatusOr<std::int64_t> ReadInt(Database& database, std::string_view sql) {
  std::int64_t value = 0;
  RETURN_IF_ERROR(database.Query(sql, [&](const Row& row) {
    value = row.Int(0);
    return absl::OkStatus();
  }));
  return value;
}

absl::Status CheckOwner(Database& database) {
  ASSIGN_OR_RETURN(const std::int64_t id,
                   ReadInt(database, "PRAGMA application_id"));
  if (id == kApplicationId) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::int64_t tables,
                   ReadInt(database, "SELECT count(*) FROM sqlite_schema"));
  if (tables == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "'{}' is a database of another program (application_id {:#x}): choose "
      "another data_dir",
      database.path(), id));
}

absl::Status RunOne(Database& database, const Migration& migration,
                    int version) {
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database));
  RETURN_IF_ERROR(database.RunScript(migration.sql));
  RETURN_IF_ERROR(database.RunScript(
      fmt::format("PRAGMA user_version = {}; PRAGMA application_id = {}",
                  version, kApplicationId)));
  return transaction.Commit();
}

}  // namespace

absl::StatusOr<int> SchemaVersionOf(Database& database) {
  ASSIGN_OR_RETURN(const std::int64_t version,
                   ReadInt(database, "PRAGMA user_version"));
  return static_cast<int>(version);
}

absl::Status Migrate(Database& database) {
  RETURN_IF_ERROR(CheckOwner(database));
  ASSIGN_OR_RETURN(int version, SchemaVersionOf(database));
  if (version > NewestSchemaVersion()) {
    return absl::FailedPreconditionError(fmt::format(
        "database '{}' has schema {}, this program knows up to {}: run the "
        "newer steadyrun-server that wrote it, or restore a backup from before "
        "the upgrade",
        database.path(), version, NewestSchemaVersion()));
  }
  for (; version < NewestSchemaVersion(); ++version) {
    const Migration& migration = AllMigrations()[version];
    if (absl::Status status = RunOne(database, migration, version + 1);
        !status.ok()) {
      return absl::Status(
          status.code(),
          fmt::format("migration {} of '{}' failed, nothing of it was kept: {}",
                      migration.name, database.path(),
                      std::string(status.message())));
    }
    spdlog::info("database migrated migration={} schema={}", migration.name,
                 version + 1);
  }
  return absl::OkStatus();
}

}  // namespace steadyrun
