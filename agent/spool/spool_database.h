#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/spool/reserve_file.h"
#include "base/ids.h"

struct sqlite3;
struct sqlite3_stmt;

namespace steadyrun::agent {

// Telemetry may be thinned when there is no room; the rest not. A gap stands
// in the place of the last report it covers.
enum class ReportKind { kTelemetry = 0, kCritical = 1, kGap = 2 };

struct SpoolRow {
  ReportSeq seq;
  ReportKind kind = ReportKind::kTelemetry;
  std::string bytes;
};

// The spool's table in SQLite: write-ahead log, one connection that owns the
// file, a page cache of a few KB. A commit is not synced: it outlives the
// agent, and a power cut gives the node a new boot id anyway.
//
// The file and its log are grown once at the start, so that a full disk leaves
// room to delete and to replace. Not thread-safe. Errors: RESOURCE_EXHAUSTED
// full, DATA_LOSS damaged, UNAVAILABLE the rest.
class SpoolDatabase {
 public:
  static absl::StatusOr<std::unique_ptr<SpoolDatabase>> Open(
      const std::string& path);
  ~SpoolDatabase();
  SpoolDatabase(const SpoolDatabase&) = delete;
  SpoolDatabase& operator=(const SpoolDatabase&) = delete;

  struct Removed {
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
  };
  // One transaction: everything up to `drop_through` goes, and `remove` by
  // number, then `insert`. `last_seq` is remembered for ever. Returns what
  // went by `drop_through`.
  absl::StatusOr<Removed> Change(const std::vector<ReportSeq>& remove,
                                 const std::vector<SpoolRow>& insert,
                                 ReportSeq drop_through, ReportSeq last_seq);

  // Rows from `from` on in order of seq, while `each` returns true.
  absl::Status Scan(ReportSeq from,
                    absl::FunctionRef<bool(const SpoolRow&)> each);

  // Moves the log's content into the file, so that the log starts over and
  // needs no new space.
  absl::Status Checkpoint();
  // Gives free pages back to the disk, some at a time, but for a reserve.
  void Shrink();

  struct Summary {
    ReportSeq oldest;  // 0: empty.
    ReportSeq last;    // Highest ever written.
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;
  };
  absl::StatusOr<Summary> Summarize();

 private:
  SpoolDatabase(sqlite3* handle, std::string path)
      : handle_(handle), path_(std::move(path)) {}
  absl::Status Prepare();
  absl::Status Apply(const std::vector<ReportSeq>& remove,
                     const std::vector<SpoolRow>& insert,
                     ReportSeq drop_through, ReportSeq last_seq,
                     Removed* removed);
  absl::Status CountThrough(ReportSeq seq, Removed* out);
  absl::StatusOr<std::int64_t> Ask(const char* sql);
  void Preallocate();
  absl::Status Run(const char* sql);
  absl::Status Step(sqlite3_stmt* statement);
  absl::Status ErrorOf(int code, std::string_view doing) const;

  sqlite3* handle_ = nullptr;
  std::string path_;
  sqlite3_stmt* insert_ = nullptr;
  sqlite3_stmt* remove_ = nullptr;
  sqlite3_stmt* count_ = nullptr;
  sqlite3_stmt* drop_ = nullptr;
  sqlite3_stmt* remember_ = nullptr;
  sqlite3_stmt* scan_ = nullptr;
};

}  // namespace steadyrun::agent
