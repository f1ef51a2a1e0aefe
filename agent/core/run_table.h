#pragma once

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "agent/core/effect.h"
#include "base/clock.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// A rank of this node, as last heard of. Ages are kept as moments, so that a
// heartbeat tells how old they are when it is sent.
struct RankEntry {
  RankState seen;
  MonoTime phase_since;
  MonoTime progress_since;
  MonoTime exited_at;  // When exited.
  MonoTime stack_taken;
  bool kill_ordered = false;
  Duration kill_grace{};  // Of the order.
};

// The ranks of all runs here, alive or gone. Knows nothing of fences.
class RunTable {
 public:
  // Makes the entry, or updates what is seen of it; never brings an exited
  // rank back to life.
  void Observe(const RunId& run, const RankState& seen, MonoTime now);
  // Null if unknown.
  RankEntry* Find(const RunId& run, AttemptId attempt, Rank rank);

  bool HasLive(const RunId& run) const;
  bool HasLiveBelow(const RunId& run, AttemptId attempt) const;
  bool HasRanksOf(const RunId& run, AttemptId attempt) const;
  // Ranks of the attempt that are alive.
  std::vector<const RankEntry*> LiveOf(const RunId& run,
                                       AttemptId attempt) const;
  // Live ranks below `attempt`, for a kill order.
  std::vector<RankEntry*> LiveBelow(const RunId& run, AttemptId attempt);
  std::vector<RunId> Runs() const;

  // Drops exited ranks of attempts below `attempt`.
  void PruneBelow(const RunId& run, AttemptId attempt);
  void Erase(const RunId& run);

  // The ranks of a run as a heartbeat shows them, by attempt and rank.
  std::vector<RankState> States(const RunId& run, MonoTime now) const;

 private:
  using Key = std::pair<AttemptId, Rank>;
  std::map<RunId, std::map<Key, RankEntry>> runs_;
};

}  // namespace steadyrun::agent
