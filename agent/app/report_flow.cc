#include "agent/app/report_flow.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace steadyrun::agent {
namespace {

// Of one message; the server takes 1 MiB, and a heartbeat needs room too.
constexpr std::size_t kMaxMessageBytes = 192 << 10;
// A crash reads again what was read since; the server merges equal rows.
constexpr Duration kCursorInterval = std::chrono::seconds(1);

}  // namespace

void ReportFlow::Append(const Report& report) {
  if (const auto* exit = std::get_if<RankExited>(&report.body)) {
    sources_.emplace(report.seq, RankKey{exit->run, exit->attempt, exit->rank});
  } else if (const auto* shard = std::get_if<CheckpointShard>(&report.body)) {
    sources_.emplace(report.seq, *shard);
  }
  appended_ = report.seq;
  is_cursor_due_ = true;
  disk_.Append(report);
}

void ReportFlow::OnWritten(const DiskThread::SpoolWritten& written, Now now) {
  stored_ = std::max(stored_, written.through);
  while (!sources_.empty() && sources_.begin()->first <= stored_) {
    const Source& source = sources_.begin()->second;
    if (const auto* key = std::get_if<RankKey>(&source)) {
      ranks_.MarkExitReported(*key);
    } else {
      ranks_.MarkSavedReported(std::get<CheckpointShard>(source));
    }
    sources_.erase(sources_.begin());
  }
  if (stored_ < appended_ || !is_cursor_due_ ||
      now.mono - cursors_at_ < kCursorInterval) {
    return;
  }
  is_cursor_due_ = false;
  cursors_at_ = now.mono;
  ranks_.CommitCursors();
}

void ReportFlow::SendFrom(ReportSeq after) {
  is_sending_ = true;
  sent_ = after;
  ready_.clear();
  is_reading_ = false;  // An answer under way is of another stream.
  ++request_;
}

void ReportFlow::Reset() {
  is_sending_ = false;
  is_reading_ = false;
  ready_.clear();
  heartbeat_.reset();
  ++request_;
}

void ReportFlow::OnRead(DiskThread::ReportsRead read) {
  if (!is_reading_ || read.request != request_) return;
  is_reading_ = false;
  ready_ = std::move(read.reports);
}

void ReportFlow::SendIfPossible(ServerLink& link) {
  if (is_sending_ && !is_reading_ && ready_.empty() && sent_ < stored_) {
    is_reading_ = true;
    disk_.Read(++request_, sent_, kMaxMessageBytes);
  }
  if (!heartbeat_ && ready_.empty()) return;
  if (!link.CanSend()) return;
  // A heartbeat does not overtake the facts it follows from, if they are at
  // hand; it waits for none.
  link.Send(heartbeat_, ready_);
  if (!ready_.empty()) sent_ = ready_.back().seq;
  reports_sent_ += ready_.size();
  heartbeats_sent_ += heartbeat_ ? 1 : 0;
  ready_.clear();
  heartbeat_.reset();
}

}  // namespace steadyrun::agent
