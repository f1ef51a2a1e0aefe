#pragma once

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/app/agent_config.h"
#include "agent/app/disk_thread.h"
#include "agent/app/local_ranks.h"
#include "agent/app/rendezvous_port.h"
#include "agent/app/report_flow.h"
#include "agent/app/shard_worker.h"
#include "agent/core/agent_core.h"
#include "agent/metrics/agent_metrics.h"
#include "agent/metrics/metrics_server.h"
#include "agent/transport/server_link.h"
#include "base/clock.h"

namespace steadyrun::agent {

// The agent: one thread that asks every source what has happened, hands it to
// the core, and carries out what the core says. It waits for nothing but the
// next event. When it ends, in whatever way, the ranks go on.
class AgentLoop {
 public:
  // Takes the state directory (FAILED_PRECONDITION: another agent has it) and
  // the ranks that live there.
  static absl::StatusOr<std::unique_ptr<AgentLoop>> Create(AgentConfig config);
  ~AgentLoop();
  AgentLoop(const AgentLoop&) = delete;
  AgentLoop& operator=(const AgentLoop&) = delete;

  // Until Stop, or until `stop_fd` is readable.
  void Run(int stop_fd);

 private:
  struct Parts;
  explicit AgentLoop(Parts parts);

  void Wait(int stop_fd);
  Duration WaitTime(MonoTime now) const;
  void Turn();
  void NoticeStandstill();
  void TakeLink();
  void TakeDisk();
  void TakeRanks();
  void TakeShards();
  void TickIfDue();
  void HoldPort();
  void Tell(Event event);
  void CarryOut(Effect effect);
  void StartRank(const SpawnRank& order);
  void Log(const std::vector<std::string>& lines);
  void LogLink(std::string_view what, const absl::Status& status);
  void WriteMetricsIfDue();
  void WriteMetricsFile();
  void TrimIfDue();

  const AgentConfig config_;
  const SystemClock clock_;
  Now now_;
  std::unique_ptr<ServerLink> link_;
  std::unique_ptr<LocalRanks> ranks_;
  std::unique_ptr<DiskThread> disk_;
  std::unique_ptr<ShardWorker> shards_;
  std::unique_ptr<ReportFlow> flow_;
  std::unique_ptr<AgentCore> core_;
  std::unique_ptr<MetricsBoard> board_;
  std::unique_ptr<MetricsServer> server_;  // Null: not wanted. Reads board_.
  RendezvousPort port_;
  // What carrying out an effect tells at once; handled after it.
  std::deque<Event> told_;
  MonoTime next_tick_;
  MonoTime next_port_try_;
  MonoTime next_metrics_;
  MonoTime next_metrics_file_;
  MonoTime next_trim_;
  MonoTime last_steps_;  // When steps were last read.
  Duration step_gap_{};  // Between the last two such times.
  MonoTime turn_started_;
  MonoTime last_turn_;
  bool is_stopping_ = false;
  bool has_told_leftovers_ = false;
  // Which descriptors are readable in this turn.
  struct Ready {
    bool link = false;
    bool disk = false;
    bool shards = false;
    bool ranks = false;
  };
  Ready ready_;
  std::mt19937_64 random_;
  std::string last_link_error_;
  AgentMetrics metrics_;
  SpoolCounts spool_counts_;
};

}  // namespace steadyrun::agent
