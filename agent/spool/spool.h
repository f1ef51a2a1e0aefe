#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/spool/reserve_file.h"
#include "agent/spool/spool_database.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

struct SpoolOptions {
  // The database. Beside it: "<path>.reserve", and after damage
  // "<path>.damaged". The directory exists.
  std::string path;
  // Of reports kept while the server is away: hours of telemetry of 16 ranks.
  std::uint64_t max_bytes = 256ull << 20;
  // On disk for reports that must not be lost when the disk is full.
  std::size_t reserve_bytes = 256 << 10;
  // In memory while nothing can be written.
  std::size_t overflow_bytes = 1 << 20;
};

struct SpoolCounts {
  std::uint64_t reports = 0;
  std::uint64_t bytes = 0;
  std::uint64_t dropped = 0;  // Since the start of the agent.
  bool is_full = false;       // The last write had to drop, or could not.
  friend bool operator==(const SpoolCounts&, const SpoolCounts&) = default;
};

// Reports that the server has not acknowledged, in order of seq, on disk.
//
// Writing never fails: what the disk does not take is kept in memory; what
// does not fit there is dropped, telemetry and the oldest first, and a gap
// record takes the place of what was dropped. Nothing is lost silently.
//
// Not thread-safe: owned by the disk thread. May block as long as the disk.
class Spool {
 public:
  // Always comes up. A damaged file is moved aside.
  explicit Spool(SpoolOptions options);

  // The highest seq ever used. If it is not known (the spool was damaged, or
  // is new), the caller goes on above a bound of its own.
  ReportSeq last_seq() const { return last_seq_; }
  bool knows_last_seq() const { return knows_last_seq_; }
  ReportSeq oldest_seq() const;  // 0: empty.
  SpoolCounts counts() const;

  // Appends, in order of seq, and drops what was acknowledged: one
  // transaction.
  void Write(const std::vector<Report>& reports, ReportSeq drop_through);

  // Reports after `after`, in order; at least one if there is any, and up to
  // `max_bytes` of them.
  std::vector<SpooledReport> ReadAfter(ReportSeq after, std::size_t max_bytes);

  // What happened since the last call, for the log.
  std::vector<std::string> TakeLog() { return std::exchange(log_, {}); }

 private:
  void OpenDatabase();
  void TakeOverReserve();
  absl::Status TryOpenDatabase(const std::string& path);
  void AbandonDatabase(const absl::Status& why);
  bool Store(const std::vector<SpoolRow>& rows);
  absl::Status TryStore(const std::vector<SpoolRow>& rows);
  void KeepInMemory(std::vector<SpoolRow> rows);
  void BoundMemory();
  void MirrorInReserve(const SpoolRow& row);
  // Deletes the oldest rows of a kind until `bytes` are free or none is left.
  bool Thin(ReportKind kind, std::uint64_t bytes);
  void KeepWithinBounds();
  void Remember(const std::vector<SpoolRow>& rows);
  void MarkFull(std::string_view why);

  SpoolOptions options_;
  std::unique_ptr<SpoolDatabase> database_;  // Null: cannot be opened now.
  std::optional<ReserveFile> reserve_;
  // Not in the database yet; critical ones are in the reserve as well.
  std::map<ReportSeq, SpoolRow> overflow_;
  std::size_t overflow_size_ = 0;
  // The newest rows, so that a server that keeps up costs no reading.
  std::deque<SpooledReport> recent_;
  std::size_t recent_size_ = 0;
  ReportSeq last_seq_;
  bool knows_last_seq_ = false;
  ReportSeq stored_through_;  // What came later is in memory or lost.
  ReportSeq dropped_through_;
  std::uint64_t dropped_ = 0;
  SpoolCounts stored_;  // In the database.
  std::vector<std::string> log_;
  std::uint64_t writes_ = 0;
  std::uint64_t full_until_ = 0;  // In writes: being full is told calmly.
};

}  // namespace steadyrun::agent
