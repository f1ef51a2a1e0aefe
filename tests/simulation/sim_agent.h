#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "base/backoff.h"
#include "tests/simulation/context.h"
#include "tests/simulation/sim_cluster.h"
#include "tests/simulation/sim_disk.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/watcher.h"

namespace steadyrun::sim {

// One node's agent process around the product's AgentCore: what agent/app,
// transport, spool and supervisor do for it, on virtual time and disk.
class SimAgent final : public AgentEnd {
 public:
  SimAgent(SimContext& context, SimCluster& cluster, SimNetwork& network,
           Watcher& watcher, int node, agent::CoreMutation mutation);

  // --- Life of the process and of its machine.
  void Start();
  void Crash();  // SIGKILL; what was not synced may be lost.
  bool IsRunning() const { return core_ != nullptr; }
  void OnProcessGone();
  void OnNodeResumed();
  // The kernel's boot id changes; with `wipe` the state directory is gone too.
  void Reboot(bool wipe);
  // While the process is down, and without a reboot.
  void WipeState();
  void LoseSpool();
  HostClock& clock() { return clock_; }

  // --- Faults.
  void FailDiskUntil(Duration time) { disk_fails_until_ = time; }
  void FillSpoolUntil(Duration time) { spool_full_until_ = time; }
  void ResendFrom(std::uint64_t reports_back);
  void MeetStaleServer() { meets_stale_server_ = true; }
  // Delivers the last Stop and Start of the node's former life again, as a
  // server would that recovered them without learning of the reboot.
  void DeliverLateCommands();
  // With the next Stop that finds ranks alive comes a Start, too soon.
  void ExpectEarlyStart() { expects_early_start_ = true; }

  const AgentDisk& disk() const { return disk_; }
  const NodeId& name() const { return name_; }
  std::string boot_id() const;
  bool IsConnected() const { return is_welcomed_; }
  bool IsDrained() const {
    return disk_.spool.empty() && appends_.empty() && unsettled_.empty();
  }

  // --- AgentEnd
  bool IsReading() const override;
  void OnStreamOpened(StreamId stream) override;
  void OnConnectFailed() override;
  void OnMessage(StreamId stream, ToAgent message) override;
  void OnAgentStreamClosed(StreamId stream) override;

 private:
  Now LocalNow() const { return clock_.At(context_.now()); }
  void Step(agent::Event event);
  void Perform(const agent::Effect& effect);
  void On(const agent::PersistState& persist);
  void On(const agent::SpawnRank& spawn);
  void On(const agent::KillRanks& kill);
  void On(const agent::WriteSaveWord& word);
  void On(const agent::VerifyShards& verify);
  void On(const agent::AppendReport& append);
  void On(const agent::DropReportsThrough& drop);
  void On(const agent::SendHello& send);
  void On(const agent::SendReportsFrom& send);
  void On(const agent::SendHeartbeat& send);
  void On(const agent::CloseStream& close);
  void On(const agent::RemoveRunFiles&) {}
  void CommitSpool();
  void SendReports();
  void Poll();
  void ReadRecorders();
  void ReadExits();
  void ConnectAfter(Duration delay);
  void Reconnect();
  void OpenStaleStream();
  void DeliverEarlyStart(const Command& stop);
  void TellSpoolState();
  std::vector<NodeRunState> Survivors();
  template <typename Action>
  void AfterIfAlive(Duration delay, Action action) {
    context_.queue.After(delay, [this, life = life_, action] {
      if (life_ == life && IsRunning()) WhenReading(action);
    });
  }
  // A paused machine does it when it goes on.
  template <typename Action>
  void WhenReading(Action action) {
    if (IsReading()) {
      action();
    } else {
      deferred_.push_back(action);
    }
  }

  SimContext& context_;
  SimCluster& cluster_;
  SimNetwork& network_;
  Watcher& watcher_;
  const int node_;
  const NodeId name_;
  const agent::CoreMutation mutation_;
  HostClock clock_;
  int boots_ = 1;

  AgentDisk disk_;
  std::unique_ptr<agent::AgentCore> core_;
  std::uint64_t life_ = 0;  // Counts process starts and ends.
  StreamId stream_ = 0;
  bool is_stale_stream_ = false;
  bool is_welcomed_ = false;
  bool is_connecting_ = false;
  bool meets_stale_server_ = false;
  bool expects_early_start_ = false;
  int connect_failures_ = 0;
  ReportSeq sent_through_;
  std::optional<agent::PersistState> writing_;
  std::vector<Report> appends_;           // Not committed yet.
  std::vector<RecorderEvent> unsettled_;  // What they came from.
  // Spooled last: a crash may come before its place is noted down, so that a
  // restarted agent reads it again.
  std::vector<RecorderEvent> settled_;
  std::vector<RankExited> settled_exits_;
  std::deque<std::function<void()>> deferred_;
  Duration disk_fails_until_{};
  Duration spool_full_until_{};
  bool was_spool_full_ = false;
  std::int32_t next_port_ = 20000;
  std::vector<Command> former_commands_;  // Last Stop and Start received.
};

}  // namespace steadyrun::sim
