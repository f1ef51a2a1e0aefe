#pragma once

// How far each rank of an attempt has come and when it last advanced, on the
// server's clock: the evidence that the hang and silence detectors share.
//
// Fed with heartbeats, which are level-triggered, so a lost one loses nothing.
// An advance is a completed step or a change of phase. Its time is the
// receiver's clock less the age the agent measured; two machines' wall clocks
// are never compared. O(1) state a rank (112 bytes), and for one that
// stands still what it tells of itself, bounded by the message (1 to 4 KB);
// nothing is allocated for a rank that advances. One thread.

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/watched_attempt.h"

namespace steadyrun {

// Where a rank stands, told by its training process: see proto RankState.
struct Standstill {
  std::vector<CollectivePosition> collectives;  // <= kMaxCollectives.
  std::vector<std::string> stack;  // Innermost first; <= kMaxStackFrames.
};

struct RankProgress {
  bool is_known = false;  // Some heartbeat of this attempt named the rank.
  RankLife life = RankLife::kStarting;
  Step step = kNoStep;
  Phase phase = Phase::kStartup;
  std::uint64_t phase_seq = 0;
  char process_state = 0;
  MonoTime heard;     // Last heartbeat that held this rank.
  MonoTime advanced;  // Last completed step or phase change.
  // In process state T in every heartbeat since then.
  std::optional<MonoTime> stopped_since;
  double cpu_seconds = 0;
  // CPU seconds and time at the first heartbeat after the last advance: the
  // base of CpuShare().
  double cpu_base_seconds = 0;
  MonoTime cpu_base;
  // Of the newest heartbeat, taken since the last advance. Null: it advances,
  // has exited, or does not tell. Shared only so that this struct copies.
  std::shared_ptr<const Standstill> standstill;

  // CPU used since the last advance, as a share of one core; negative when
  // the span is too short to tell (below 2 s).
  double CpuShare() const;
};

class RunProgress {
 public:
  // Forgets what was before.
  void Begin(const WatchedAttempt& attempt, MonoTime now);

  // True if the rank advanced. Ignores other attempts and unknown ranks.
  bool Observe(const RankState& state, MonoTime now);
  // Its exit was reported; heartbeats of a restarted agent do not tell it.
  void ObserveExit(Rank rank);

  const WatchedAttempt& Attempt() const { return attempt_; }
  std::span<const RankProgress> Ranks() const { return ranks_; }

  // Newest advance of any rank; the attempt's begin before the first.
  // O(ranks), as the ones below: for ticks, not for reports.
  MonoTime LastAdvance() const;
  // The same over ranks on nodes that are not in `nodes`; nothing when there
  // is no such rank.
  std::optional<MonoTime> LastAdvanceOutside(
      const std::set<NodeId>& nodes) const;

  // Over ranks that are known and not exited: lowest and highest completed
  // step; kNoStep when a rank has none, or there is no rank.
  Step MinStep() const;
  Step MaxStep() const;

 private:
  WatchedAttempt attempt_;
  std::vector<RankProgress> ranks_;
};

}  // namespace steadyrun
