#include "server/storage/self_check.h"

#include <sqlite3.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
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

// Interrupts what the connection does when the time is over. quick_check walks
// a table in one instruction, so SQLite's progress handler would not be asked.
class Interrupter {
 public:
  Interrupter(Database& database, Duration after)
      : thread_([this, &database, after] {
          if (!done_.WaitForNotificationWithTimeout(absl::FromChrono(after))) {
            sqlite3_interrupt(database.handle());
          }
        }) {}
  ~Interrupter() {
    done_.Notify();
    thread_.join();
  }

 private:
  absl::Notification done_;
  std::thread thread_;
};

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

absl::Status DescribeDamage(const absl::Status& status,
                            const Database& database) {
  if (!absl::IsDataLoss(status)) return status;
  return absl::DataLossError(fmt::format(
      "database '{}' is damaged ({}). Nothing is done with it: training goes "
      "on, unsupervised. Restore the newest backup, or move the file away and "
      "run sqlite3's .recover; see docs/runbooks/storage.md",
      database.path(), std::string(status.message())));
}

absl::Status CheckForDamage(Database& database, Duration budget) {
  Interrupter interrupter(database, budget);
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
  if (absl::IsCancelled(status)) {
    spdlog::info("database check cut short table={} budget_seconds={}", current,
                 ToSeconds(budget));
    return absl::OkStatus();
  }
  return DescribeDamage(status, database);
}

absl::Status CheckAudit(Database& database) {
  return VerifyAuditChain(database, kAuditRowsAtStart).status();
}

}  // namespace steadyrun
