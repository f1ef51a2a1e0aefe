#pragma once

#include <string>
#include <vector>

#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "server/engine/effect.h"
#include "server/engine/event.h"
#include "tests/simulation/sim_cluster.h"
#include "tests/simulation/sim_disk.h"

namespace steadyrun::sim {

// Everything that is observed, the moment it happens. Implemented by the
// invariants; the simulated machines only call it.
class Watcher : public ClusterListener {
 public:
  // --- The service.
  virtual void OnServerStarted(std::uint64_t epoch) = 0;
  // The engine took `event` and answered; nothing is committed yet.
  virtual void OnEngineStep(const Event& event, const Outcome& outcome) = 0;
  // One transaction is about to be applied to the store, then has been. An
  // empty one comes before effects that need none.
  virtual void OnCommit(const std::vector<Change>& changes) = 0;
  virtual void OnCommitted() = 0;
  // An effect leaves the service. `node` is -1 where there is none.
  virtual void OnServerEffect(const Effect& effect, int node) = 0;

  // --- The agents.
  virtual void OnAgentEffect(int node, const agent::Effect& effect,
                             const AgentDisk& disk) = 0;
  virtual void OnReportSpooled(int node, const std::string& boot_id,
                               const Report& report) = 0;
  virtual void OnSpoolLost(int node) = 0;
  virtual void OnReportsDropped(int node, const std::string& boot_id,
                                ReportSeq through) = 0;
  // From here on, nothing this node is told may have an effect (a stale
  // server), until the stream ends.
  virtual void OnStaleStream(int node, bool is_open) = 0;
  virtual void OnNodeReborn(int node, const std::string& boot_id) = 0;
};

}  // namespace steadyrun::sim
