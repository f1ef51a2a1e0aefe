#pragma once

// A cluster picture for tests, built in words:
//   cluster.Node("a").Floor(2).Rank(0, 1, RankLife::kAlive);

#include <map>
#include <set>
#include <string>
#include <utility>

#include "server/policy/policy.h"
#include "server/recovery/cluster_view.h"
#include "server/recovery/recovery_machine.h"

namespace steadyrun {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

class TestCluster {
 public:
  struct TestNode {
    NodeState state;
    bool is_connected = true;
    Duration silence{};
    bool is_quarantined = false;
    std::string serving;

    NodeRunState& Run() {
      if (state.runs.empty()) state.runs.push_back({"gpt", {}, {}, {}});
      return state.runs[0];
    }
    TestNode& Floor(std::int64_t floor) {
      Run().floor = AttemptId{floor};
      return *this;
    }
    TestNode& Started(std::int64_t attempt) {
      Run().started = AttemptId{attempt};
      return *this;
    }
    TestNode& Rank(std::int32_t rank, std::int64_t attempt, RankLife life) {
      RankState rank_state;
      rank_state.rank = steadyrun::Rank{rank};
      rank_state.attempt = AttemptId{attempt};
      rank_state.life = life;
      Run().ranks.push_back(rank_state);
      return *this;
    }
    TestNode& Silent(Duration time, bool stays_connected = false) {
      is_connected = stays_connected;
      silence = time;
      return *this;
    }
  };

  // Adds it, connected and idle, if it is new.
  TestNode& Node(const std::string& name) {
    TestNode& node = nodes_[name];
    if (node.state.node.empty()) {
      node.state.node = name;
      node.state.boot_id = name + "-life";
      node.state.address = "addr-" + name;
      node.state.rendezvous_port = 29500;
    }
    return node;
  }
  void Settle() { is_settling_ = true; }

  ClusterView View() const {
    ClusterView view;
    view.is_settling = is_settling_;
    for (const auto& [name, node] : nodes_) {
      NodeFacts facts;
      facts.node = name;
      facts.state = &node.state;
      facts.is_connected = node.is_connected;
      facts.silence = node.silence;
      facts.is_quarantined = node.is_quarantined;
      facts.serving = node.serving;
      view.nodes.push_back(std::move(facts));
    }
    return view;
  }

 private:
  std::map<std::string, TestNode> nodes_;
  bool is_settling_ = false;
};

inline Now TestNow(Duration since_start = {}) {
  return {MonoTime(std::chrono::hours(100)) + since_start,
          FromUnixMillis(1'700'000'000'000) +
              std::chrono::duration_cast<milliseconds>(since_start)};
}

inline RunSpec TestSpec(std::int32_t nodes = 2) {
  RunSpec spec;
  spec.run = "gpt";
  spec.argv = {"python3", "train.py"};
  spec.nodes = nodes;
  spec.ranks_per_node = 2;
  spec.checkpoint_directory = "/ckpt";
  return spec;
}

// Attempt 1 on nodes a, b, ... in this phase.
inline RunState TestState(RunPhase phase, std::int32_t nodes = 2) {
  RunState state;
  state.spec = TestSpec(nodes);
  state.phase = phase;
  state.phase_since = TestNow();
  state.created = state.accounted = TestNow().wall;
  state.attempt = AttemptId{1};
  state.attempts = 1;
  for (std::int32_t i = 0; i < nodes; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    state.placement.push_back({name, i, name + "-life", StopProof::kNone});
  }
  return state;
}

inline Checkpoint TestCheckpoint(std::int64_t step, std::int64_t attempt,
                                 CheckpointState state) {
  Checkpoint checkpoint;
  checkpoint.run = "gpt";
  checkpoint.attempt = AttemptId{attempt};
  checkpoint.step = Step{step};
  checkpoint.state = state;
  checkpoint.shards_expected = 4;
  for (std::int32_t rank = 0; rank < 4; ++rank) {
    CheckpointShard& shard = checkpoint.shards[rank];
    shard.rank = Rank{rank};
    shard.path = "/ckpt/attempt-" + std::to_string(attempt) + "/" +
                 std::to_string(step) + "/" + std::to_string(rank);
    shard.sha256 = "d";
  }
  return checkpoint;
}

inline void AddTo(CheckpointMap* map, Checkpoint checkpoint) {
  const CheckpointKey key{checkpoint.step, checkpoint.attempt};
  (*map)[key] = std::move(checkpoint);
}

// Calls the machine with what a test has set up.
struct TestMachine {
  RunState state;
  TestCluster cluster;
  CheckpointMap checkpoints;
  std::set<NodeId> verified;
  Policy policy = DefaultPolicy();

  Advanced Do(const Trigger& trigger, Now now = TestNow()) {
    const ClusterView view = cluster.View();
    return Advance(&state, trigger,
                   {policy, view, checkpoints, verified, RecoveryDefects{}},
                   now);
  }
};

template <typename T>
const T* FindIntent(const Advanced& advanced) {
  for (const Intent& intent : advanced.intents) {
    if (const T* found = std::get_if<T>(&intent)) return found;
  }
  return nullptr;
}

}  // namespace steadyrun
