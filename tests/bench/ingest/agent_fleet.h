#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace steadyrun::bench {

struct FleetOptions {
  std::string server;  // host:port of a running steadyrun-server.
  std::string run = "bench";
  int agents = 125;
  int ranks_per_agent = 8;
  int steps_per_message = 1;
  int messages_in_flight = 4;  // Unacknowledged, per agent.
  double step_seconds = 0.1;   // Written into the reports.
};

// Agents as the server sees them: real gRPC streams that say Hello, obey Stop
// and Start, send heartbeats and step blocks, and wait for acknowledgements.
// There is no process behind their ranks: the load is on the server alone.
class AgentFleet {
 public:
  explicit AgentFleet(FleetOptions options);
  ~AgentFleet();
  AgentFleet(const AgentFleet&) = delete;
  AgentFleet& operator=(const AgentFleet&) = delete;

  // Connects all agents; returns when each has its Welcome.
  absl::Status Connect();
  // Launches the run over all agents; returns when each has its Start.
  absl::Status Launch();
  // Sends as fast as the acknowledgements allow, for `seconds`.
  void RunSaturated(double seconds);
  // One message an agent and second, spread over the second, for `seconds`.
  void RunPaced(double seconds);

  std::int64_t ReportsSent() const { return reports_sent_.load(); }
  std::int64_t ReportsAcked() const;

 private:
  class Agent;
  absl::Status WaitForAll(bool (Agent::*condition)() const, const char* what);

  FleetOptions options_;
  std::atomic<std::int64_t> reports_sent_{0};
  std::vector<std::unique_ptr<Agent>> agents_;
};

}  // namespace steadyrun::bench
