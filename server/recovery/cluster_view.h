#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/model/run_state.h"

namespace steadyrun {

// One node as the server knows it now. `state` is the newest heartbeat's (or
// what is left of an earlier session's) and outlives the view.
struct NodeFacts {
  NodeId node;
  const NodeState* state = nullptr;  // Null: known by name only, never heard.
  bool is_connected = false;         // Has a live session at this epoch.
  Duration silence{};                // Since it was last heard.
  bool is_quarantined = false;
  std::string_view serving;  // The run that holds it; empty: a spare.
};

// A picture of the cluster for one decision; lives as long as the decision.
struct ClusterView {
  std::vector<NodeFacts> nodes;  // By name.
  // Silence says nothing yet: the server has just started, or lost time.
  bool is_settling = false;

  const NodeFacts* Find(std::string_view node) const;
};

// What a node's newest state says about one run; null if nothing.
const NodeRunState* FindRun(const NodeFacts& facts, std::string_view run);

// Any process of the run with an attempt below `below` not known to be gone.
bool HasLiveRanksBelow(const NodeRunState* run, AttemptId below);

// How many of the placement's nodes are connected.
int ConnectedNodes(const std::vector<NodeAssignment>& placement,
                   const ClusterView& cluster);

// The ranks that a node of this node_rank runs.
struct RankRange {
  std::int32_t first = 0;
  std::int32_t last = 0;  // Exclusive.
};
RankRange RanksOf(const RunSpec& spec, std::int32_t node_rank);

// The node that runs `rank` now; empty if it is not placed.
NodeId NodeOfRank(const RunState& state, Rank rank);

}  // namespace steadyrun
