#pragma once

#include <memory>
#include <vector>

#include "tests/simulation/context.h"
#include "tests/simulation/sim_agent.h"
#include "tests/simulation/sim_cluster.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/sim_operator.h"
#include "tests/simulation/sim_server.h"

namespace steadyrun::sim {

// Injects the faults of FaultOptions until told to heal.
class Chaos {
 public:
  struct Parts {
    SimContext& context;
    SimCluster& cluster;
    SimNetwork& network;
    SimServer& server;
    std::vector<std::unique_ptr<SimAgent>>& agents;
    SimOperator& people;
    std::vector<RunId> runs;
  };
  explicit Chaos(Parts parts) : parts_(std::move(parts)) {}

  void Begin();
  // No more faults; what was broken is repaired. What a fault left behind
  // (a hung rank, a dead process) stays for the product to deal with.
  void Heal();
  bool IsHealed() const { return is_healed_; }

 private:
  void ScheduleNext(FaultKind kind);
  void WatchRecoveries();
  void Inject(FaultKind kind);
  void InjectIntoRank(FaultKind kind, int process);
  void InjectIntoNode(FaultKind kind, int node);
  void InjectIntoService(FaultKind kind);
  void InjectIntoNetwork(FaultKind kind);
  void CrashNode(int node, bool wipe);
  int RandomRank();  // A live process, or -1.
  int RandomNode();
  RunId RandomRun();
  SimRandom& random() { return parts_.context.random; }

  Parts parts_;
  bool is_healed_ = false;
};

}  // namespace steadyrun::sim
