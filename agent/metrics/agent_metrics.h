#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

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

// Prometheus text: for the text file collector of node_exporter, and for
// /metrics of the agent. Series a rank for the first kMaxRankSeries only, by
// local_rank.
std::string RenderMetrics(const AgentMetrics& metrics, const NodeState& state);
// Of one attempt of one run a node has at most so many devices; each is three
// series.
inline constexpr std::size_t kMaxRankSeries = 16;

// The newest figures, from the loop's thread to the one that is scraped.
class MetricsBoard {
 public:
  void Put(const AgentMetrics& metrics, NodeState state) {
    absl::MutexLock lock(&mutex_);
    metrics_ = metrics;
    state_ = std::move(state);
  }
  std::string Render() const {
    absl::MutexLock lock(&mutex_);
    return RenderMetrics(metrics_, state_);
  }

 private:
  mutable absl::Mutex mutex_;
  AgentMetrics metrics_ ABSL_GUARDED_BY(mutex_);
  NodeState state_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun::agent
