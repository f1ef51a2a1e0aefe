#pragma once

// A simulated job over the real protocol: one simulated agent a node, spares
// included, and one run launched over them. One thread drives all; gRPC's own
// threads only fill the inbox.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "fleet/sim/job.h"
#include "fleet/wire/wire_agent.h"

namespace steadyrun::fleet {

struct WireOptions {
  std::string server;  // host:port
  std::string token;
  std::string ca_file;  // Not empty: TLS.
  JobOptions job;
  std::int32_t spares = 2;
  // A lost node is back, rebooted, after this.
  Duration reboot = std::chrono::seconds(30);
};

class WireFleet final : private Machines {
 public:
  // `clock` outlives the fleet. NOT_FOUND: unreadable CA file.
  static absl::StatusOr<std::unique_ptr<WireFleet>> Create(WireOptions options,
                                                           const Clock* clock);
  ~WireFleet() override;

  // Launches the run, marked as simulated (STEADYRUN_SIMULATED=1 in its
  // environment). The server's own refusals, or UNAVAILABLE.
  absl::Status Launch();
  // Drives the agents until `keep_going` (asked some times a second) says no,
  // or the run has ended and is forgotten.
  void Run(const std::function<bool()>& keep_going);

  const Job& job() const { return job_; }
  bool IsEnded() const { return is_ended_; }
  std::int32_t AgentsConnected() const;
  MonoTime Start() const { return start_; }

 private:
  struct Spawned {
    std::int32_t agent = -1;
    bool is_gone = false;
  };

  WireFleet(WireOptions options, const Clock* clock);
  absl::Status Connect();
  // --- Machines
  void Spawn(std::int32_t agent, const agent::SpawnRank& spawn) override;
  void Kill(std::int32_t agent, const agent::KillRanks& kill) override;
  bool OrderSave(const agent::WriteSaveWord& word) override;
  void Forget(std::int32_t agent) override;

  void TakeInbox(Now now);
  void AdvanceJob(Now now);
  void SendRow(const StepRow& row, Now now);
  void GoSilent(const WentSilent& silent, std::int32_t node, Now now);
  void Revive(Now now);
  void ObserveRanks(std::int32_t agent, Now now);
  void TellLateExit(std::int32_t agent, const RankState& state, Now now);
  std::vector<NodeRunState> SurvivorsOf(std::int32_t agent, Now now);
  void BeginIfAllAreThere(Now now);

  WireOptions options_;
  const Clock* const clock_;
  Job job_;
  MonoTime start_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<v1::AgentService::Stub>> stubs_;
  std::shared_ptr<agent::LinkInbox> inbox_;
  std::vector<std::unique_ptr<WireAgent>> agents_;

  // The attempt whose ranks are being, or were, spawned.
  AttemptId attempt_{0};
  Step resume_ = kNoStep;
  bool has_begun_ = false;
  std::map<std::int32_t, Spawned> spawned_;  // By rank.
  std::vector<std::int32_t> first_rank_;     // By agent; -1: none.
  std::vector<std::pair<std::int32_t, RankExited>> killed_;  // To be told.
  std::map<std::int32_t, std::pair<MonoTime, bool>> down_;   // Agent: until,
                                                             // rebooted.
  bool is_ended_ = false;
};

}  // namespace steadyrun::fleet
