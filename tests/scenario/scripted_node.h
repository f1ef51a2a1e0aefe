#pragma once

// Inside of ScriptedCluster; not for scenarios.

#include <map>
#include <string>
#include <vector>

#include "tests/scenario/scripted_cluster.h"

namespace steadyrun {

struct ScriptedCluster::Node {
  NodeState state;
  SessionId session;
  bool is_connected = false;
  bool is_muted = false;
  bool is_frozen = false;
  bool is_dead = false;
  bool refuses_start = false;
  int drops = 0;  // Commands still to be lost.
  std::uint64_t next_seq = 1;
  std::vector<steadyrun::Report> unacked;
  std::vector<steadyrun::Report> sent;          // All, for repetition.
  std::map<std::int32_t, MonoTime> progressed;  // By rank.
  std::map<std::int32_t, bool> stopped;         // SIGSTOPped ranks.

  bool CanTalk() const {
    return is_connected && !is_muted && !is_frozen && !is_dead;
  }
  NodeRunState* FindRun(const RunId& run) {
    for (NodeRunState& r : state.runs) {
      if (r.run == run) return &r;
    }
    return nullptr;
  }
};

}  // namespace steadyrun
