#include "server/storage/sqlite.h"

#include <errno.h>
#include <sqlite3.h>

#include <cstring>
#include <limits>

#include "base/check.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// How long a connection waits for another one's lock. Writers of this process
// take turns by a mutex, so this is met only beside a foreign sqlite3 shell.
constexpr int kBusyTimeoutMs = 2000;

bool IsDiskFull(int code, int system_error) {
  if ((code & 0xff) == SQLITE_FULL) return true;
  // Growing the index of the write-ahead log; it sets no system error.
  if (code == SQLITE_IOERR_SHMSIZE) return true;
  if ((code & 0xff) != SQLITE_IOERR) return false;
  return system_error == ENOSPC || system_error == EDQUOT;
}

// After a failed sync the kernel may have dropped the pages and call the next
// sync a success; nothing can be believed until the file is read again.
bool IsFailedSync(int code) {
  return code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
}

absl::StatusCode CodeFor(int code, int system_error) {
  if (IsFailedSync(code)) return absl::StatusCode::kDataLoss;
  if (IsDiskFull(code, system_error)) {
    return absl::StatusCode::kResourceExhausted;
  }
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
      return absl::StatusCode::kUnavailable;
    case SQLITE_INTERRUPT:
      return absl::StatusCode::kCancelled;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

std::int64_t Row::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

double Row::Real(int column) const {
  if (IsNull(column)) return std::numeric_limits<double>::quiet_NaN();
  return sqlite3_column_double(statement_, column);
}

std::string_view Row::Text(int column) const {
  const auto* text =
      reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return {};
  return {text,
          static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string_view Row::Bytes(int column) const {
  const auto* bytes =
      static_cast<const char*>(sqlite3_column_blob(statement_, column));
  if (bytes == nullptr) return {};
  return {bytes,
          static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Row::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(
    const std::string& path, Mode mode) {
  const int flags =
      SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
      (mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY
                               : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  if (handle == nullptr) {
    return absl::ResourceExhaustedError("no memory to open a database");
  }
  std::unique_ptr<Database> database(new Database(handle, path));
  if (code != SQLITE_OK) return database->StatusOf(code, "open");
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return database;
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close_v2(handle_);
}

absl::Status Database::StatusOf(int code, std::string_view doing) const {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) {
    return absl::OkStatus();
  }
  const int system_error = sqlite3_system_errno(handle_);
  std::string text =
      fmt::format("database '{}': cannot {}: {} (SQLite code {})", path_, doing,
                  sqlite3_errmsg(handle_), code);
  if ((code & 0xff) == SQLITE_IOERR && system_error != 0) {
    text += fmt::format(", system: {}", std::strerror(system_error));
  }
  return absl::Status(CodeFor(code, system_error), text);
}

absl::Status Database::RunScript(const std::string& sql) {
  const int code =
      sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  return StatusOf(code, "run a script");
}

absl::StatusOr<sqlite3_stmt*> Database::Prepare(std::string_view sql) {
  if (const auto found = statements_.find(sql); found != statements_.end()) {
    // A query inside its own callback would restart it: a bug of the caller.
    SR_CHECK(!sqlite3_stmt_busy(found->second));
    return found->second;
  }
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return StatusOf(code, fmt::format("prepare {}", sql));
  statements_.emplace(sql, statement);
  return statement;
}

absl::Status Database::StepAll(sqlite3_stmt* statement, RowFunction each) {
  absl::Status status;
  int code = SQLITE_ROW;
  while (status.ok() && (code = sqlite3_step(statement)) == SQLITE_ROW) {
    status = each(Row(statement));
  }
  if (status.ok() && code != SQLITE_DONE) {
    status = StatusOf(code, fmt::format("run {}", sqlite3_sql(statement)));
  }
  sqlite3_reset(statement);
  return status;
}

absl::Status Database::BindInt(sqlite3_stmt* statement, int index,
                               std::int64_t value) {
  return StatusOf(sqlite3_bind_int64(statement, index, value), "bind");
}

absl::Status Database::Bind(sqlite3_stmt* statement, int index, double value) {
  return StatusOf(sqlite3_bind_double(statement, index, value), "bind");
}

// SQLITE_STATIC: the arguments outlive the statement's run, and every run
// binds all of them again.
absl::Status Database::Bind(sqlite3_stmt* statement, int index,
                            std::string_view text) {
  const char* data = text.data() == nullptr ? "" : text.data();
  return StatusOf(sqlite3_bind_text64(statement, index, data, text.size(),
                                      SQLITE_STATIC, SQLITE_UTF8),
                  "bind");
}

absl::Status Database::Bind(sqlite3_stmt* statement, int index, Blob blob) {
  const char* data = blob.bytes.data() == nullptr ? "" : blob.bytes.data();
  return StatusOf(sqlite3_bind_blob64(statement, index, data, blob.bytes.size(),
                                      SQLITE_STATIC),
                  "bind");
}

absl::Status Database::Bind(sqlite3_stmt* statement, int index, Null) {
  return StatusOf(sqlite3_bind_null(statement, index), "bind");
}

std::int64_t Database::ChangedRows() const { return sqlite3_changes(handle_); }

absl::StatusOr<Transaction> Transaction::Begin(Database& database) {
  RETURN_IF_ERROR(database.Run("BEGIN IMMEDIATE"));
  return Transaction(&database);
}

absl::Status Transaction::Commit() {
  RETURN_IF_ERROR(database_->Run("COMMIT"));
  database_ = nullptr;
  return absl::OkStatus();
}

Transaction::~Transaction() {
  if (database_ == nullptr) return;
  // A full disk may have rolled it back already.
  if (sqlite3_get_autocommit(database_->handle()) != 0) return;
  database_->Run("ROLLBACK").IgnoreError();
}

}  // namespace steadyrun
