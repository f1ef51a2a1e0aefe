#include "agent/spool/spool.h"

#include <stdio.h>
#include <unistd.h>

#include <algorithm>

#include "agent/spool/gap_ranges.h"
#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// Rows thinned in one go, so that memory stays small: about 1 MB of numbers
// and gaps at the worst.
constexpr std::uint64_t kMaxThinnedRows = 8192;
// Newest rows kept for sending.
constexpr std::size_t kRecentBytes = 256 << 10;
// A database that cannot be opened is tried again after so many writes, and
// "full" is taken back after so many good ones: seconds to a minute.
constexpr std::uint64_t kRetryWrites = 64;
// Critical reports alone may go this far over the bound before the oldest go.
constexpr std::uint64_t kCriticalPercent = 125;

}  // namespace

Spool::Spool(SpoolOptions options) : options_(std::move(options)) {
  auto reserve =
      ReserveFile::Open(options_.path + ".reserve", options_.reserve_bytes);
  if (reserve.ok()) {
    reserve_ = *std::move(reserve);
  } else {
    log_.push_back(std::string(reserve.status().message()));
  }
  // What an earlier agent used is known from both files, or not at all.
  knows_last_seq_ = reserve_ && reserve_->existed() &&
                    ::access(options_.path.c_str(), F_OK) == 0;
  OpenDatabase();
  if (database_ == nullptr) knows_last_seq_ = false;
  last_seq_ = knows_last_seq_ ? std::max(last_seq_, reserve_->last_seq())
                              : ReportSeq{0};
  if (knows_last_seq_) TakeOverReserve();
}

// What an earlier agent kept outside the database: critical reports are in
// the reserve, and telemetry was in its memory, so that a gap is left of it.
void Spool::TakeOverReserve() {
  ReportSeq next = stored_through_.Next();
  const auto tell_lost = [&](ReportSeq before) {
    if (next >= before) return;
    overflow_[ReportSeq{before.value - 1}] =
        EncodeGap(next, ReportSeq{before.value - 1},
                  "kept in memory on a full disk, lost with the agent");
  };
  for (SpooledReport& report : reserve_->Load()) {
    if (report.seq < next) continue;  // In the database by now.
    tell_lost(report.seq);
    next = report.seq.Next();
    overflow_[report.seq] = {report.seq, ReportKind::kCritical,
                             std::move(report.bytes)};
  }
  tell_lost(last_seq_.Next());
  for (const auto& [seq, row] : overflow_) overflow_size_ += row.bytes.size();
}

absl::Status Spool::TryOpenDatabase(const std::string& path) {
  ASSIGN_OR_RETURN(auto database, SpoolDatabase::Open(path));
  ASSIGN_OR_RETURN(const auto summary, database->Summarize());
  database_ = std::move(database);
  last_seq_ = std::max(last_seq_, summary.last);
  stored_through_ = summary.last;
  stored_ = {.reports = summary.rows, .bytes = summary.bytes};
  if (summary.oldest.value > 0) {
    dropped_through_ =
        std::max(dropped_through_, ReportSeq{summary.oldest.value - 1});
  }
  return absl::OkStatus();
}

void Spool::OpenDatabase() {
  const std::string& path = options_.path;
  absl::Status status = TryOpenDatabase(path);
  if (status.ok()) return;
  log_.push_back(std::string(status.message()));
  if (!absl::IsDataLoss(status)) return;
  knows_last_seq_ = false;
  log_.push_back(
      fmt::format("'{}' is moved aside; what it held is lost", path));
  ::rename(path.c_str(), (path + ".damaged").c_str());
  for (const char* suffix : {"-wal", "-shm", "-journal"}) {
    ::remove((path + suffix).c_str());
  }
  status = TryOpenDatabase(path);
  if (!status.ok()) log_.push_back(std::string(status.message()));
}

ReportSeq Spool::oldest_seq() const {
  ReportSeq oldest;
  if (database_ != nullptr) {
    const auto summary = database_->Summarize();
    if (summary.ok()) oldest = summary->oldest;
  }
  if (!overflow_.empty()) {
    const ReportSeq kept = overflow_.begin()->first;
    oldest = oldest.value == 0 ? kept : std::min(oldest, kept);
  }
  return oldest;
}

SpoolCounts Spool::counts() const {
  return {.reports = stored_.reports + overflow_.size(),
          .bytes = stored_.bytes + overflow_size_,
          .dropped = dropped_,
          .is_full = writes_ < full_until_};
}

void Spool::MarkFull(std::string_view why) {
  if (writes_ >= full_until_) {
    log_.push_back(fmt::format("spool is full: {}", why));
  }
  full_until_ = writes_ + kRetryWrites;
}

void Spool::Write(const std::vector<Report>& reports, ReportSeq drop_through) {
  ++writes_;
  dropped_through_ = std::max(dropped_through_, drop_through);
  std::vector<SpoolRow> rows;
  for (const Report& report : reports) {
    if (report.seq <= dropped_through_) continue;
    last_seq_ = std::max(last_seq_, report.seq);
    rows.push_back(EncodeReport(report));
  }
  Remember(rows);
  while (!overflow_.empty() && overflow_.begin()->first <= dropped_through_) {
    overflow_size_ -= overflow_.begin()->second.bytes.size();
    overflow_.erase(overflow_.begin());
  }
  if (database_ == nullptr && writes_ % kRetryWrites == 0) OpenDatabase();
  const bool had_overflow = !overflow_.empty();
  std::vector<SpoolRow> all;
  all.reserve(overflow_.size() + rows.size());
  for (const auto& [seq, row] : overflow_) all.push_back(row);
  all.insert(all.end(), rows.begin(), rows.end());
  if (database_ == nullptr || !Store(all)) {
    KeepInMemory(std::move(rows));
    return;
  }
  if (had_overflow) {
    overflow_.clear();
    overflow_size_ = 0;
  }
  if (reserve_ && !reserve_->empty()) reserve_->Clear().IgnoreError();
  KeepWithinBounds();
  if (writes_ % kRetryWrites == 0) database_->Shrink();
}

absl::Status Spool::TryStore(const std::vector<SpoolRow>& rows) {
  const auto removed = database_->Change({}, rows, dropped_through_, last_seq_);
  if (!removed.ok()) return removed.status();
  stored_through_ = last_seq_;
  stored_.reports += rows.size() - std::min(removed->rows, stored_.reports);
  stored_.bytes -= std::min(removed->bytes, stored_.bytes);
  for (const SpoolRow& row : rows) stored_.bytes += row.bytes.size();
  return absl::OkStatus();
}

bool Spool::Store(const std::vector<SpoolRow>& rows) {
  absl::Status status = TryStore(rows);
  if (status.ok()) return true;
  std::uint64_t needed = 64 << 10;
  for (const SpoolRow& row : rows) needed += row.bytes.size();
  // The log may have room again once it starts over; then telemetry gives way.
  for (int round = 0; round < 3 && !absl::IsDataLoss(status); ++round) {
    database_->Checkpoint().IgnoreError();
    if (round > 0) {
      MarkFull(std::string(status.message()));
      if (!Thin(ReportKind::kTelemetry, std::max(needed, stored_.bytes / 8))) {
        break;
      }
    }
    status = TryStore(rows);
    if (status.ok()) return true;
  }
  if (absl::IsDataLoss(status)) AbandonDatabase(status);
  MarkFull(std::string(status.message()));
  return false;
}

// What was in it and not acknowledged is lost, and said so by a gap.
void Spool::AbandonDatabase(const absl::Status& why) {
  database_.reset();
  const ReportSeq from = dropped_through_.Next();
  ReportSeq to = last_seq_;
  if (!overflow_.empty()) to = ReportSeq{overflow_.begin()->first.value - 1};
  dropped_ += stored_.reports;
  stored_ = {};
  if (from <= to && !overflow_.contains(to)) {
    KeepInMemory({EncodeGap(from, to, "the spool was damaged")});
  }
  log_.push_back(std::string(why.message()));
  const ReportSeq last = last_seq_;
  OpenDatabase();  // Finds the damage itself and moves the file aside.
  last_seq_ = last;
}

void Spool::KeepInMemory(std::vector<SpoolRow> rows) {
  MarkFull("what cannot be written is kept in memory");
  for (SpoolRow& row : rows) {
    if (row.kind != ReportKind::kTelemetry) MirrorInReserve(row);
    overflow_size_ += row.bytes.size();
    overflow_[row.seq] = std::move(row);
  }
  BoundMemory();
  if (reserve_) reserve_->SetLastSeq(last_seq_).IgnoreError();
}

void Spool::MirrorInReserve(const SpoolRow& row) {
  if (!reserve_) return;
  if (reserve_->Append({row.seq, row.bytes}).ok()) return;
  // Written over: what was acknowledged since leaves room.
  std::vector<SpooledReport> kept;
  for (const auto& [seq, other] : overflow_) {
    if (other.kind != ReportKind::kTelemetry) {
      kept.push_back({seq, other.bytes});
    }
  }
  kept.push_back({row.seq, row.bytes});
  reserve_->Rewrite(kept).IgnoreError();
}

void Spool::BoundMemory() {
  for (const ReportKind kind :
       {ReportKind::kTelemetry, ReportKind::kCritical}) {
    if (overflow_size_ <= options_.overflow_bytes) return;
    // Down to half, so that this is not done at each write.
    GapRanges ranges("no room on disk nor in memory");
    std::size_t excess = overflow_size_ - options_.overflow_bytes / 2;
    for (const auto& [seq, row] : overflow_) {
      if (row.kind == kind && ranges.bytes() < excess) {
        ranges.Drop(row);
      } else {
        ranges.Keep(row);
      }
    }
    ranges.Finish();
    for (const ReportSeq seq : ranges.removed()) overflow_.erase(seq);
    for (const SpoolRow& gap : ranges.gaps()) overflow_[gap.seq] = gap;
    dropped_ += ranges.dropped();
    overflow_size_ = 0;
    for (const auto& [seq, row] : overflow_) overflow_size_ += row.bytes.size();
  }
}

bool Spool::Thin(ReportKind kind, std::uint64_t bytes) {
  GapRanges ranges("the spool was full");
  const absl::Status scanned =
      database_->Scan(ReportSeq{0}, [&](const SpoolRow& row) {
        if (ranges.bytes() >= bytes || ranges.dropped() >= kMaxThinnedRows) {
          return false;
        }
        if (row.kind == kind) {
          ranges.Drop(row);
        } else {
          ranges.Keep(row);
        }
        return true;
      });
  ranges.Finish();
  if (!scanned.ok() || ranges.dropped() == 0) return false;
  const auto changed = database_->Change(ranges.removed(), ranges.gaps(),
                                         dropped_through_, stored_through_);
  if (!changed.ok()) return false;
  dropped_ += ranges.dropped();
  std::uint64_t added = 0;
  for (const SpoolRow& gap : ranges.gaps()) added += gap.bytes.size();
  const auto take = [](std::uint64_t& count, std::uint64_t less) {
    count -= std::min(count, less);
  };
  stored_.reports += ranges.gaps().size();
  stored_.bytes += added;
  take(stored_.reports, ranges.removed().size() + changed->rows);
  take(stored_.bytes, ranges.bytes() + changed->bytes);
  return true;
}

void Spool::KeepWithinBounds() {
  const std::uint64_t max = options_.max_bytes;
  if (stored_.bytes <= max) return;
  MarkFull(fmt::format("{} bytes are kept, at most {}", stored_.bytes, max));
  // An eighth at a time, so that this is not done at each write.
  while (stored_.bytes > max - max / 8 &&
         Thin(ReportKind::kTelemetry, max / 8)) {
  }
  while (stored_.bytes > max / 100 * kCriticalPercent &&
         Thin(ReportKind::kCritical, max / 8)) {
  }
}

void Spool::Remember(const std::vector<SpoolRow>& rows) {
  for (const SpoolRow& row : rows) {
    if (!recent_.empty() && recent_.back().seq.Next() != row.seq) {
      recent_.clear();  // Numbers jumped: what is between is not here.
      recent_size_ = 0;
    }
    recent_.push_back({row.seq, row.bytes});
    recent_size_ += row.bytes.size();
  }
  while (!recent_.empty() && (recent_size_ > kRecentBytes ||
                              recent_.front().seq <= dropped_through_)) {
    recent_size_ -= recent_.front().bytes.size();
    recent_.pop_front();
  }
}

std::vector<SpooledReport> Spool::ReadAfter(ReportSeq after,
                                            std::size_t max_bytes) {
  std::vector<SpooledReport> reports;
  std::size_t size = 0;
  const auto take = [&](ReportSeq seq, const std::string& bytes) {
    if (!reports.empty() && size + bytes.size() > max_bytes) return false;
    size += bytes.size();
    reports.push_back({seq, bytes});
    return true;
  };
  if (!recent_.empty() && recent_.front().seq <= after.Next()) {
    for (const SpooledReport& report : recent_) {
      if (report.seq > after && !take(report.seq, report.bytes)) break;
    }
    return reports;
  }
  auto kept = overflow_.upper_bound(after);
  bool is_room = true;
  // What is in memory and comes before `seq`.
  const auto take_kept_before = [&](ReportSeq seq) {
    for (; kept != overflow_.end() && kept->first < seq && is_room; ++kept) {
      is_room = take(kept->first, kept->second.bytes);
    }
  };
  if (database_ != nullptr) {
    const absl::Status scanned =
        database_->Scan(after.Next(), [&](const SpoolRow& row) {
          take_kept_before(row.seq);
          if (is_room) is_room = take(row.seq, row.bytes);
          return is_room;
        });
    if (absl::IsDataLoss(scanned)) AbandonDatabase(scanned);
    // Never past what could not be read: the server would count it as had.
    if (!scanned.ok()) return {};
  }
  take_kept_before(last_seq_.Next());
  return reports;
}

}  // namespace steadyrun::agent
