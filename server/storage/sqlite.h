#pragma once

// SQLite behind RAII, with every result code as an absl::Status.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"

struct sqlite3;
struct sqlite3_stmt;

namespace steadyrun {

// Bytes for a BLOB column; string_view binds as TEXT.
struct Blob {
  std::string_view bytes;
};
// SQL NULL.
struct Null {};

// The current row of a query. Views die with the callback's return.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
  std::int64_t Int(int column) const;
  double Real(int column) const;  // NULL reads as NaN: SQLite stores NaN so.
  std::string_view Text(int column) const;
  std::string_view Bytes(int column) const;
  bool IsNull(int column) const;

 private:
  sqlite3_stmt* statement_;
};

using RowFunction = absl::FunctionRef<absl::Status(const Row&)>;

// One connection. Not thread-safe: one thread at a time.
// Codes become: SQLITE_FULL, or ENOSPC/EDQUOT below it -> RESOURCE_EXHAUSTED;
// a failed sync, CORRUPT, NOTADB -> DATA_LOSS; other I/O errors, BUSY,
// READONLY, CANTOPEN -> UNAVAILABLE; INTERRUPT -> CANCELLED; the rest INTERNAL.
class Database {
 public:
  enum class Mode { kReadWrite, kReadOnly };

  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path,
                                                        Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Several statements without arguments, such as a migration.
  absl::Status RunScript(const std::string& sql);

  // One statement whose rows, if any, do not matter. `sql` must be a constant:
  // the prepared statement is kept under it.
  template <typename... Args>
  absl::Status Run(std::string_view sql, const Args&... args) {
    return Query(
        sql, [](const Row&) { return absl::OkStatus(); }, args...);
  }

  // Calls `each` for every row; stops at its first error and returns that.
  // `each` must not run the same `sql` on this connection.
  template <typename... Args>
  absl::Status Query(std::string_view sql, RowFunction each,
                     const Args&... args) {
    ASSIGN_OR_RETURN(sqlite3_stmt * statement, Prepare(sql));
    int index = 0;
    absl::Status status;
    ((status.ok() ? void(status = Bind(statement, ++index, args)) : void()),
     ...);
    if (!status.ok()) return status;
    return StepAll(statement, each);
  }

  // Rows the last INSERT, UPDATE or DELETE changed.
  std::int64_t ChangedRows() const;
  const std::string& path() const { return path_; }
  sqlite3* handle() const { return handle_; }
  // Status of result code `code` on this connection.
  absl::Status StatusOf(int code, std::string_view doing) const;

 private:
  Database(sqlite3* handle, std::string path)
      : handle_(handle), path_(std::move(path)) {}

  absl::StatusOr<sqlite3_stmt*> Prepare(std::string_view sql);
  absl::Status StepAll(sqlite3_stmt* statement, RowFunction each);

  absl::Status BindInt(sqlite3_stmt* statement, int index, std::int64_t value);
  absl::Status Bind(sqlite3_stmt* statement, int index, double value);
  absl::Status Bind(sqlite3_stmt* statement, int index, std::string_view text);
  absl::Status Bind(sqlite3_stmt* statement, int index, Blob blob);
  absl::Status Bind(sqlite3_stmt* statement, int index, Null);
  template <typename T>
  requires std::is_integral_v<T> absl::Status Bind(sqlite3_stmt* statement,
                                                   int index, T value) {
    return BindInt(statement, index, static_cast<std::int64_t>(value));
  }

  sqlite3* handle_;
  std::string path_;
  std::unordered_map<std::string_view, sqlite3_stmt*> statements_;
};

// BEGIN IMMEDIATE ... COMMIT; rolled back unless committed.
class Transaction {
 public:
  static absl::StatusOr<Transaction> Begin(Database& database);
  Transaction(Transaction&& other) noexcept
      : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  absl::Status Commit();

 private:
  explicit Transaction(Database* database) : database_(database) {}
  Database* database_;  // Null: ended.
};

}  // namespace steadyrun
