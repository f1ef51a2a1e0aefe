#include "agent/spool/spool_database.h"

#include <sqlite3.h>

#include <utility>

#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// Grown at the start: what a deletion and a replacement need on a full disk.
constexpr int kPreallocatedBytes = 1 << 20;
// Four times that may stay unused.
constexpr std::int64_t kFreePagesKept = 1024;

constexpr char kSettings[] = R"sql(
  PRAGMA locking_mode = EXCLUSIVE;  -- First: then no shared memory file.
  PRAGMA synchronous = NORMAL;
  PRAGMA wal_autocheckpoint = 128;  -- Pages: the log stays near 512 KB.
  PRAGMA cache_size = -256;
  PRAGMA temp_store = MEMORY;
)sql";

// Of a new file only: setting these again would write, which a full disk may
// refuse.
constexpr char kSchema[] = R"sql(
  PRAGMA page_size = 4096;
  PRAGMA auto_vacuum = INCREMENTAL;
  PRAGMA journal_mode = WAL;
  BEGIN;
  CREATE TABLE reports (
    seq INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    bytes BLOB NOT NULL);
  CREATE TABLE last (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq INTEGER NOT NULL);
  INSERT INTO last VALUES (1, 0);
  PRAGMA user_version = 1;
  COMMIT;
)sql";

sqlite3_int64 Key(ReportSeq seq) {
  return static_cast<sqlite3_int64>(seq.value);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SpoolDatabase>> SpoolDatabase::Open(
    const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      ::sqlite3_open_v2(path.c_str(), &handle,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                            SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                        nullptr);
  std::unique_ptr<SpoolDatabase> database(new SpoolDatabase(handle, path));
  if (code != SQLITE_OK) return database->ErrorOf(code, "open");
  // The log file stays when it is closed: a full disk could not make a new one.
  int is_log_kept = 1;
  ::sqlite3_file_control(handle, nullptr, SQLITE_FCNTL_PERSIST_WAL,
                         &is_log_kept);
  RETURN_IF_ERROR(database->Run(kSettings));
  ASSIGN_OR_RETURN(const std::int64_t version,
                   database->Ask("PRAGMA user_version"));
  if (version > 1) {
    return absl::DataLossError(fmt::format(
        "spool '{}' has version {}, this agent knows 1", path, version));
  }
  if (version == 0) RETURN_IF_ERROR(database->Run(kSchema));
  RETURN_IF_ERROR(database->Prepare());
  database->Preallocate();
  return database;
}

SpoolDatabase::~SpoolDatabase() {
  for (sqlite3_stmt* statement :
       {insert_, remove_, count_, drop_, remember_, scan_}) {
    ::sqlite3_finalize(statement);
  }
  ::sqlite3_close(handle_);
}

absl::Status SpoolDatabase::ErrorOf(int code, std::string_view doing) const {
  const std::string text = fmt::format(
      "cannot {} spool '{}': {} ({})", doing, path_,
      handle_ != nullptr ? ::sqlite3_errmsg(handle_) : ::sqlite3_errstr(code),
      code);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(text);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    default:
      return absl::UnavailableError(text);
  }
}

absl::Status SpoolDatabase::Run(const char* sql) {
  const int code = ::sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ErrorOf(code, "change");
}

absl::Status SpoolDatabase::Prepare() {
  const std::pair<sqlite3_stmt**, const char*> statements[] = {
      {&insert_, "INSERT OR REPLACE INTO reports VALUES (?, ?, ?)"},
      {&remove_, "DELETE FROM reports WHERE seq = ?"},
      {&count_,
       "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM reports "
       "WHERE seq <= ?"},
      {&drop_, "DELETE FROM reports WHERE seq <= ?"},
      {&remember_, "UPDATE last SET seq = max(seq, ?)"},
      {&scan_,
       "SELECT seq, kind, bytes FROM reports WHERE seq >= ? ORDER BY seq"},
  };
  for (const auto& [statement, sql] : statements) {
    const int code = ::sqlite3_prepare_v3(
        handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, nullptr);
    if (code != SQLITE_OK) return ErrorOf(code, "prepare");
  }
  return absl::OkStatus();
}

void SpoolDatabase::Preallocate() {
  // Rolled into the file and the log, then deleted: the pages stay. Failing is
  // no fault: the disk is full already.
  const absl::Status status =
      Run(fmt::format("BEGIN; INSERT INTO reports VALUES (-1, 0, "
                      "zeroblob({})); COMMIT;",
                      kPreallocatedBytes)
              .c_str());
  if (!status.ok() && ::sqlite3_get_autocommit(handle_) == 0) {
    Run("ROLLBACK").IgnoreError();
  }
  Run("DELETE FROM reports WHERE seq < 0").IgnoreError();
  Checkpoint().IgnoreError();
}

absl::Status SpoolDatabase::Step(sqlite3_stmt* statement) {
  const int code = ::sqlite3_step(statement);
  const absl::Status status =
      code == SQLITE_DONE ? absl::OkStatus() : ErrorOf(code, "change");
  ::sqlite3_reset(statement);
  return status;
}

absl::Status SpoolDatabase::CountThrough(ReportSeq seq, Removed* out) {
  ::sqlite3_bind_int64(count_, 1, Key(seq));
  const int code = ::sqlite3_step(count_);
  if (code == SQLITE_ROW) {
    out->rows = static_cast<std::uint64_t>(::sqlite3_column_int64(count_, 0));
    out->bytes = static_cast<std::uint64_t>(::sqlite3_column_int64(count_, 1));
  }
  const absl::Status status =
      code == SQLITE_ROW ? absl::OkStatus() : ErrorOf(code, "read");
  ::sqlite3_reset(count_);
  return status;
}

absl::Status SpoolDatabase::Apply(const std::vector<ReportSeq>& remove,
                                  const std::vector<SpoolRow>& insert,
                                  ReportSeq drop_through, ReportSeq last_seq,
                                  Removed* removed) {
  RETURN_IF_ERROR(Run("BEGIN IMMEDIATE"));
  // Deleting first leaves pages for what is inserted.
  RETURN_IF_ERROR(CountThrough(drop_through, removed));
  if (removed->rows > 0) {
    ::sqlite3_bind_int64(drop_, 1, Key(drop_through));
    RETURN_IF_ERROR(Step(drop_));
  }
  for (const ReportSeq seq : remove) {
    ::sqlite3_bind_int64(remove_, 1, Key(seq));
    RETURN_IF_ERROR(Step(remove_));
  }
  for (const SpoolRow& row : insert) {
    ::sqlite3_bind_int64(insert_, 1, Key(row.seq));
    ::sqlite3_bind_int(insert_, 2, static_cast<int>(row.kind));
    ::sqlite3_bind_blob64(insert_, 3, row.bytes.data(), row.bytes.size(),
                          SQLITE_STATIC);
    const absl::Status status = Step(insert_);
    ::sqlite3_clear_bindings(insert_);
    RETURN_IF_ERROR(status);
  }
  ::sqlite3_bind_int64(remember_, 1, Key(last_seq));
  RETURN_IF_ERROR(Step(remember_));
  return Run("COMMIT");
}

absl::StatusOr<SpoolDatabase::Removed> SpoolDatabase::Change(
    const std::vector<ReportSeq>& remove, const std::vector<SpoolRow>& insert,
    ReportSeq drop_through, ReportSeq last_seq) {
  Removed removed;
  const absl::Status status =
      Apply(remove, insert, drop_through, last_seq, &removed);
  if (status.ok()) return removed;
  if (::sqlite3_get_autocommit(handle_) == 0) Run("ROLLBACK").IgnoreError();
  return status;
}

absl::Status SpoolDatabase::Scan(
    ReportSeq from, absl::FunctionRef<bool(const SpoolRow&)> each) {
  ::sqlite3_bind_int64(scan_, 1, Key(from));
  int code;
  while ((code = ::sqlite3_step(scan_)) == SQLITE_ROW) {
    SpoolRow row;
    row.seq =
        ReportSeq{static_cast<std::uint64_t>(::sqlite3_column_int64(scan_, 0))};
    row.kind = static_cast<ReportKind>(::sqlite3_column_int(scan_, 1));
    row.bytes.assign(
        static_cast<const char*>(::sqlite3_column_blob(scan_, 2)),
        static_cast<std::size_t>(::sqlite3_column_bytes(scan_, 2)));
    if (!each(row)) break;
  }
  const bool is_good = code == SQLITE_ROW || code == SQLITE_DONE;
  const absl::Status status =
      is_good ? absl::OkStatus() : ErrorOf(code, "read");
  ::sqlite3_reset(scan_);
  return status;
}

absl::Status SpoolDatabase::Checkpoint() {
  const int code = ::sqlite3_wal_checkpoint_v2(
      handle_, nullptr, SQLITE_CHECKPOINT_RESTART, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : ErrorOf(code, "checkpoint");
}

absl::StatusOr<std::int64_t> SpoolDatabase::Ask(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  int code = ::sqlite3_prepare_v2(handle_, sql, -1, &statement, nullptr);
  std::int64_t value = 0;
  if (code == SQLITE_OK && (code = ::sqlite3_step(statement)) == SQLITE_ROW) {
    value = ::sqlite3_column_int64(statement, 0);
  }
  ::sqlite3_finalize(statement);
  if (code != SQLITE_ROW) return ErrorOf(code, "read");
  return value;
}

void SpoolDatabase::Shrink() {
  const auto free_pages = Ask("PRAGMA freelist_count");
  if (!free_pages.ok() || *free_pages < kFreePagesKept) return;
  Run("PRAGMA incremental_vacuum(256)").IgnoreError();
}

absl::StatusOr<SpoolDatabase::Summary> SpoolDatabase::Summarize() {
  sqlite3_stmt* statement = nullptr;
  int code = ::sqlite3_prepare_v2(
      handle_,
      "SELECT (SELECT seq FROM last), coalesce(min(seq), 0), count(*), "
      "coalesce(sum(length(bytes)), 0) FROM reports WHERE seq > 0",
      -1, &statement, nullptr);
  Summary summary;
  if (code == SQLITE_OK && (code = ::sqlite3_step(statement)) == SQLITE_ROW) {
    const auto column = [statement](int i) {
      return static_cast<std::uint64_t>(::sqlite3_column_int64(statement, i));
    };
    summary = {.oldest = ReportSeq{column(1)},
               .last = ReportSeq{column(0)},
               .rows = column(2),
               .bytes = column(3)};
  }
  ::sqlite3_finalize(statement);
  if (code != SQLITE_ROW) return ErrorOf(code, "read");
  return summary;
}

}  // namespace steadyrun::agent
