#include "server/recovery/cluster_view.h"

#include <algorithm>

namespace steadyrun {

const NodeFacts* ClusterView::Find(std::string_view node) const {
  auto it = std::lower_bound(nodes.begin(), nodes.end(), node,
                             [](const NodeFacts& facts, std::string_view n) {
                               return facts.node < n;
                             });
  return it != nodes.end() && it->node == node ? &*it : nullptr;
}

const NodeRunState* FindRun(const NodeFacts& facts, std::string_view run) {
  if (facts.state == nullptr) return nullptr;
  for (const NodeRunState& state : facts.state->runs) {
    if (state.run == run) return &state;
  }
  return nullptr;
}

bool HasLiveRanksBelow(const NodeRunState* run, AttemptId below) {
  if (run == nullptr) return false;
  return std::any_of(
      run->ranks.begin(), run->ranks.end(), [below](const RankState& rank) {
        return rank.life != RankLife::kExited && rank.attempt < below;
      });
}

int ConnectedNodes(const std::vector<NodeAssignment>& placement,
                   const ClusterView& cluster) {
  return static_cast<int>(
      std::count_if(placement.begin(), placement.end(),
                    [&cluster](const NodeAssignment& assignment) {
                      const NodeFacts* facts = cluster.Find(assignment.node);
                      return facts != nullptr && facts->is_connected;
                    }));
}

RankRange RanksOf(const RunSpec& spec, std::int32_t node_rank) {
  const std::int32_t first = node_rank * spec.ranks_per_node;
  return {first, first + spec.ranks_per_node};
}

NodeId NodeOfRank(const RunState& state, Rank rank) {
  if (rank < Rank{0} || state.spec.ranks_per_node <= 0) return {};
  const std::int32_t node_rank = rank.value / state.spec.ranks_per_node;
  for (const NodeAssignment& assignment : state.placement) {
    if (assignment.node_rank == node_rank) return assignment.node;
  }
  return {};
}

}  // namespace steadyrun
