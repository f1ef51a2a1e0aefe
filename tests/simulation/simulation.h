#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "server/engine/engine.h"
#include "tests/simulation/chaos.h"
#include "tests/simulation/context.h"
#include "tests/simulation/invariants.h"

namespace steadyrun::sim {

struct SimulationOptions {
  std::uint64_t seed = 1;
  EngineMutation engine_mutation = EngineMutation::kNone;
  agent::CoreMutation core_mutation = agent::CoreMutation::kNone;
  bool keeps_trace = false;
  // By seed if not set.
  std::optional<FaultOptions> faults;
};

struct SimulationResult {
  std::optional<Invariants::Violation> violation;
  std::string profile;
  std::uint64_t events = 0;
  std::uint64_t digest = 0;  // Of the history: equal for equal seeds.
  Duration virtual_time{};
  int automatic_restarts = 0;
  std::uint64_t attempts = 0;
  int completed = 0;
  int halts = 0;
  std::array<std::uint64_t, kFaultKinds> injected{};
  std::vector<std::string> trace;
};

// One history: a cluster of 2 to 8 nodes, one or two runs, faults for some
// minutes, then all is healed and the runs must come to an end or stand still
// for a stated reason. Everything follows from the seed.
class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options);
  SimulationResult Run();

 private:
  void BuildCluster(const SimulationOptions& options);
  void LaunchRuns();
  bool HasViolation() const { return invariants_->violation().has_value(); }
  void RunUntil(Duration time);
  // Why the world is not at rest yet; empty when it is.
  std::string WhyNotSettled();
  std::string WhyRunNotSettled(const RunId& run);
  void CheckLiveness();
  void WakeHeldRuns();

  SimContext context_;
  std::unique_ptr<SimNetwork> network_;
  std::unique_ptr<Invariants> invariants_;
  std::unique_ptr<SimCluster> cluster_;
  std::unique_ptr<SimServer> server_;
  std::vector<std::unique_ptr<SimAgent>> agents_;
  std::unique_ptr<SimOperator> people_;
  std::unique_ptr<Chaos> chaos_;
  std::vector<RunSpec> specs_;
  Duration chaos_time_{};
  std::map<RunId, int> halts_;  // Since the end of the faults.
};

}  // namespace steadyrun::sim
