#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"

namespace steadyrun::agent {

// What the agent counts of itself, since its start unless said otherwise.
struct AgentMetrics {
  bool is_connected = false;
  std::uint64_t connections = 0;
  std::uint64_t heartbeats = 0;
  std::uint64_t reports_sent = 0;
  std::uint64_t commands = 0;
  std::uint64_t ranks_spawned = 0;
  std::uint64_t ranks_exited = 0;
  std::uint64_t ranks_alive = 0;    // Now.
  std::uint64_t spool_reports = 0;  // Now.
  std::uint64_t spool_bytes = 0;    // Now.
  std::uint64_t spool_dropped = 0;  // Telemetry thinned, under gaps.
  bool is_spool_full = false;
  std::uint64_t state_write_failures = 0;
  double slowest_turn_seconds = 0;  // Of the loop, since the last text.
};

// Prometheus text, for the text file collector of node_exporter.
std::string RenderMetrics(const AgentMetrics& metrics, const NodeId& node);

}  // namespace steadyrun::agent
