#pragma once

// One random history of the recovery machine: a small cluster as ground truth
// (what really runs where), a service that sees it late, loses commands and is
// restarted from what it had stored, operators, and faults. After every event
// the invariants are checked against the truth.
//
// Smaller than tests/simulation on purpose: only the machine and the commands
// that follow from its state, so that thousands of histories take seconds.

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "server/recovery/cluster_view.h"
#include "server/recovery/recovery_machine.h"

namespace steadyrun {

class History {
 public:
  History(std::uint64_t seed, RecoveryDefects defects);

  // Empty, or the first invariant that does not hold, with the last events.
  std::string Run();

  // How much happened, so that a test can see that its histories are rich.
  struct Tally {
    int starts = 0;
    int stops = 0;
    int fences = 0;
    int halts = 0;
    int pauses = 0;
    int holds = 0;
    int held_faults = 0;
    int reloads = 0;
    int first_steps = 0;
    int completions = 0;
  };
  const Tally& Count() const { return tally_; }

 private:
  struct Node {
    NodeState state;  // The truth.
    NodeState seen;   // What the service has been told.
    bool is_known = false;
    bool is_connected = false;
    bool is_dead = false;
    MonoTime heard;
    bool is_quarantined = false;
  };

  // --- Chance.
  bool Chance(double p);
  int Pick(int below);

  // --- Events.
  void Tick();
  void Disturb();
  void Heal();
  void Tell(const std::string& name);  // A heartbeat arrives.
  void Deliver(const std::string& name, const Command& command);
  void Train();
  void Fail(IncidentKind kind, const std::string& node, Step step,
            const std::string& signature);
  void Order(enum Order order, Step step);
  void Release();
  void Reload();

  // --- The machine.
  void Do(const Trigger& trigger);
  void Store();
  void SendCommands();
  ClusterView View() const;

  // --- Invariants.
  void CheckTransition(const RunState& before, const Trigger& trigger,
                       const Advanced& advanced);
  void CheckStart(const std::string& name, AttemptId attempt);
  void CheckTime();
  void Violated(const std::string& what);
  bool IsAliveAnywhere(AttemptId below, std::string* where) const;
  void Log(std::string line);

  std::mt19937_64 random_;
  RecoveryDefects defects_;
  Policy policy_;
  Now now_;
  std::map<std::string, Node> nodes_;
  RunState state_;
  RunState stored_;
  CheckpointMap checkpoints_;
  std::set<NodeId> verified_;
  std::set<NodeId> saved_;
  std::uint64_t epoch_ = 1;

  std::set<std::int64_t> started_;               // Attempts ever started.
  std::map<std::string, AttemptId> fenced_;      // Node -> attempts up to this.
  std::vector<MonoTime> automatic_;              // Restarts without an order.
  std::map<std::string, std::int64_t> spawned_;  // Highest, by node.
  std::int64_t truth_step_ = -1;
  std::string violation_;
  std::vector<std::string> log_;
  Tally tally_;
};

}  // namespace steadyrun
