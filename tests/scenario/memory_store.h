#pragma once

// The durable side of the engine, in memory: changes in, a snapshot out. Keeps
// the contract of server/storage/store.h (deadlines are re-based), without a
// disk.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "server/engine/effect.h"
#include "server/model/snapshot.h"

namespace steadyrun {

class MemoryStore {
 public:
  void Apply(const std::vector<Change>& changes, Now now);
  // As after a restart of the service at `now`; the epoch grows.
  Snapshot Load(Now now);

  const std::map<RunId, RunState>& Runs() const { return runs_; }
  const std::map<std::string, Incident>& Incidents() const {
    return incidents_;
  }
  const std::vector<StepRow>& Rows() const { return rows_; }
  const std::vector<AuditEntry>& Audit() const { return audit_; }
  const std::vector<Decision>& Decisions() const { return decisions_; }
  const std::map<std::pair<NodeId, std::string>, ReportSeq>& Cursors() const {
    return cursors_;
  }

 private:
  std::uint64_t epoch_ = 0;
  Now saved_at_;
  std::map<RunId, RunState> runs_;
  std::map<std::string, Incident> incidents_;  // By Id().
  std::map<std::tuple<RunId, Step, AttemptId>, Checkpoint> checkpoints_;
  std::map<NodeId, NodeRecord> nodes_;
  std::map<std::pair<NodeId, std::string>, ReportSeq> cursors_;
  std::map<NodeId, std::string> lives_;  // Newest boot_id of each node.
  std::vector<StepRow> rows_;
  std::vector<AuditEntry> audit_;
  std::vector<Decision> decisions_;
  std::vector<std::pair<std::string, std::string>> requests_;
};

}  // namespace steadyrun
