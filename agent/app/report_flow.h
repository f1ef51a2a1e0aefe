#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "agent/app/disk_thread.h"
#include "agent/app/local_ranks.h"
#include "agent/transport/server_link.h"
#include "base/clock.h"

namespace steadyrun::agent {

// The way of a report: core -> disk -> server -> acknowledged. Nothing is sent
// before it is in the spool, so that a number means one report for ever; and
// nothing counts as read from a recorder before that either.
class ReportFlow {
 public:
  ReportFlow(DiskThread& disk, LocalRanks& ranks, ReportSeq last_spooled)
      : disk_(disk),
        ranks_(ranks),
        appended_(last_spooled),
        stored_(last_spooled) {}

  void Append(const Report& report);
  void DropThrough(ReportSeq seq) { disk_.DropThrough(seq); }
  // The server is to be sent everything after `after`.
  void SendFrom(ReportSeq after);
  void SetHeartbeat(NodeState state) { heartbeat_ = std::move(state); }
  // The stream has ended.
  void Reset();

  void OnWritten(const DiskThread::SpoolWritten& written, Now now);
  void OnRead(DiskThread::ReportsRead read);
  // One message at a time, with the newest heartbeat and what reports fit.
  void SendIfPossible(ServerLink& link);

  std::uint64_t reports_sent() const { return reports_sent_; }
  std::uint64_t heartbeats_sent() const { return heartbeats_sent_; }

 private:
  // Facts whose source is told once they are in the spool.
  using Source = std::variant<RankKey, CheckpointShard>;

  DiskThread& disk_;
  LocalRanks& ranks_;
  ReportSeq appended_;  // Given to the disk.
  ReportSeq stored_;    // In the spool.
  std::map<ReportSeq, Source> sources_;
  MonoTime cursors_at_;
  bool is_cursor_due_ = false;

  bool is_sending_ = false;
  ReportSeq sent_;  // To the server on this stream.
  std::uint64_t request_ = 0;
  bool is_reading_ = false;
  std::vector<SpooledReport> ready_;
  std::optional<NodeState> heartbeat_;
  std::uint64_t reports_sent_ = 0;
  std::uint64_t heartbeats_sent_ = 0;
};

}  // namespace steadyrun::agent
