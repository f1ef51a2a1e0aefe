#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "server/engine/effect.h"
#include "server/model/snapshot.h"
#include "server/notify/pager.h"
#include "server/rpc/agent_service.h"
#include "server/rpc/backend.h"
#include "server/rpc/wrong_token_limit.h"

namespace steadyrun {

// Everything on /metrics. One place declares each name; see docs/metrics.md
// for their meaning. Labels are bounded: run, kind, severity, state, outcome;
// never a rank, a node, a step or an incident. Thread-safe.
class ServerMetrics {
 public:
  // Read at each scrape; may be empty.
  struct Sources {
    const LiveState* live = nullptr;
    const Clock* clock = nullptr;
    std::function<AgentTrafficCounts()> traffic;
    std::function<std::vector<Pager::SinkCounts>()> notifications;
    std::function<WrongTokenLimit::Counts()> wrong_tokens;
  };
  // What `sources` refers to outlives this.
  explicit ServerMetrics(Sources sources);
  ~ServerMetrics();

  // Called by the engine loop: once with what was loaded, then with each
  // outcome after its commit. A few atomics and short locks, no I/O.
  void Seed(const Snapshot& snapshot);
  void Observe(const Outcome& outcome);
  // Wall time of one commit, waiting for the disk included.
  void ObserveCommit(Duration took, bool ok);
  // How late a tick came against its plan.
  void ObserveTickLag(Duration lag);

  // Prometheus text format 0.0.4.
  std::string Render();
  static constexpr const char* kContentType =
      "text/plain; version=0.0.4; charset=utf-8";

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun
