#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/core/effect.h"
#include "server/engine/effect.h"
#include "server/model/snapshot.h"
#include "tests/simulation/context.h"

namespace steadyrun::sim {

// What the service has on disk: changes applied in whole transactions, and a
// snapshot of it for the next process. Times on the monotonic clock are kept
// as what was left of them when they were saved (server/storage/README.md).
class ServerStore {
 public:
  using CheckpointKey = std::tuple<RunId, AttemptId, Step>;
  struct Totals {
    std::uint64_t commits = 0;
    std::uint64_t step_rows = 0;
    std::uint64_t rank_exits = 0;
    std::uint64_t decisions = 0;
  };

  // One transaction, whole. `now` is the server's clock.
  void Apply(const std::vector<Change>& changes, MonoTime now);
  // For the next process of the server: one epoch further, committed.
  Snapshot Load(Now now);

  const RunState* FindRun(const RunId& run) const;
  const Incident* FindIncident(const RunId& run, std::int64_t number) const;
  const Checkpoint* FindCheckpoint(const RunId& run, AttemptId attempt,
                                   Step step) const;
  ReportSeq AckedOf(const NodeId& node, const std::string& boot_id) const;

  const std::map<CheckpointKey, Checkpoint>& checkpoints() const {
    return checkpoints_;
  }
  const std::map<std::pair<RunId, std::int64_t>, Incident>& incidents() const {
    return incidents_;
  }
  const std::vector<AuditEntry>& audit() const { return audit_; }
  const std::map<std::string, std::string>& requests() const {
    return requests_;
  }
  std::uint64_t epoch() const { return epoch_; }
  const Totals& totals() const { return totals_; }

 private:
  struct StoredRun {
    RunState state;
    MonoTime saved;
  };
  void ApplyOne(const Change& change, MonoTime now);

  std::uint64_t epoch_ = 0;
  std::map<RunId, StoredRun> runs_;
  std::map<std::pair<RunId, std::int64_t>, Incident> incidents_;
  std::map<CheckpointKey, Checkpoint> checkpoints_;
  std::map<NodeId, NodeRecord> nodes_;
  std::map<std::pair<NodeId, std::string>, NodeCursor> cursors_;
  std::map<std::string, std::string> requests_;
  std::vector<AuditEntry> audit_;
  Totals totals_;
};

// What an agent has on disk: its fence, its spool, and the exit records that
// the shims left for it.
struct AgentDisk {
  std::optional<agent::DurableState> state;
  std::deque<Report> spool;  // In order of seq; committed.
  ReportSeq last_spooled;    // Highest ever spooled in this state's life.
  std::uint64_t dropped = 0;
  int wipes = 0;

  ReportSeq OldestSpooled() const {
    return spool.empty() ? ReportSeq{0} : spool.front().seq;
  }
  // A new machine, or a folder removed by hand.
  void Wipe() {
    state.reset();
    spool.clear();
    last_spooled = ReportSeq{0};
    ++wipes;
  }
};

}  // namespace steadyrun::sim
