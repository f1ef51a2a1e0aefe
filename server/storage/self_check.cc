#include "server/storage/self_check.h"

#include <sqlite3.h>

#include <string>
#include <vector>

#include "server/storage/audit_table.h"
#include "spdlog/fmt/fmt.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

constexpr std::int64_t kAuditRowsAtStart = 10'000;

// What the engine decides by comes first; the step tables may be huge.
absl::StatusOr<std::vector<std::string>> TablesToCheck(Database& database) {
  std::vector<std::string> tables;
  RETURN_IF_ERROR(database.Query(
      "SELECT name FROM sqlite_schema WHERE type = 'table'"
      " AND name NOT LIKE 'sqlite_%' ORDER BY name LIKE 'step_%', name",
      [&](const Row& row) {
        tables.emplace_back(row.Text(0));
        return absl::OkStatus();
      }));
  return tables;
}

struct Deadline {
  const Clock* clock;
  MonoTime at;
};

int IsPast(void* argument) {
  const auto* deadline = static_cast<const Deadline*>(argument);
  return deadline->clock->MonoNow() >= deadline->at ? 1 : 0;
}

absl::Status CheckTable(Database& database, const std::string& table) {
  std::string found;
  // Not through the statement cache: the text is not a constant.
  const auto read = [](void* out, int, char** values, char**) {
    auto& text = *static_cast<std::string*>(out);
    if (text.empty() && values[0] != nullptr) text = values[0];
    return 0;
  };
  const int code = sqlite3_exec(
      database.handle(), fmt::format("PRAGMA quick_check('{}')", table).c_str(),
      read, &found, nullptr);
  RETURN_IF_ERROR(database.StatusOf(code, "check for damage"));
  if (found == "ok") return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("table {} is damaged: {}", table, found));
}

}  // namespace

absl::Status CheckForDamage(Database& database, Duration budget,
                            const Clock& clock) {
  Deadline deadline{&clock, clock.MonoNow() + budget};
  constexpr int kInstructionsBetweenLooks = 10'000;
  sqlite3_progress_handler(database.handle(), kInstructionsBetweenLooks, IsPast,
                           &deadline);
  absl::Status status;
  std::string current = "the schema";
  absl::StatusOr<std::vector<std::string>> tables = TablesToCheck(database);
  status = tables.status();
  if (tables.ok()) {
    for (const std::string& table : *tables) {
      current = table;
      status = CheckTable(database, table);
      if (!status.ok()) break;
    }
  }
  sqlite3_progress_handler(database.handle(), 0, nullptr, nullptr);
  if (absl::IsCancelled(status)) {
    spdlog::info("database check cut short table={} budget_seconds={}", current,
                 ToSeconds(budget));
    return absl::OkStatus();
  }
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(fmt::format(
      "database '{}' is damaged ({}). Nothing is done with it: training goes "
      "on, unsupervised. Restore the newest backup, or move the file away and "
      "run sqlite3's .recover; see docs/runbooks/storage.md",
      database.path(), std::string(status.message())));
}

absl::Status CheckAudit(Database& database) {
  return VerifyAuditChain(database, kAuditRowsAtStart).status();
}

}  // namespace steadyrun
