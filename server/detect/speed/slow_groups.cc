#include "server/detect/speed/slow_groups.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <map>
#include <optional>

namespace steadyrun {
namespace {

// More slow nodes than this at once share a cause that is not on them (a
// switch, the storage, the power cap of a row): naming each would be a page of
// findings, and replacing them would not help. About 0.5 % of machines are
// slow for good in a published fleet; ten times that is no coincidence.
std::size_t ManyNodes(const WatchedWorld& world) {
  return std::max<std::size_t>(4, world.node_size.size() / 20);
}

using Ranks = std::vector<std::size_t>;

// The group all of `slow` are in, if they are three quarters of it.
template <typename GroupOf>
std::optional<std::size_t> CommonGroup(const Ranks& slow, std::size_t size,
                                       GroupOf group_of) {
  const std::size_t group = group_of(slow.front());
  if (slow.size() * 4 < size * 3) return std::nullopt;
  for (const std::size_t rank : slow) {
    if (group_of(rank) != group) return std::nullopt;
  }
  return group;
}

std::optional<std::string> CommonGroupName(const Ranks& slow,
                                           const RankPlaces& places) {
  if (places.TensorSize() > 1) {
    if (CommonGroup(slow, places.TensorSize(),
                    [&](std::size_t r) { return places.TensorGroupOf(r); })) {
      return fmt::format("the tensor group of replica {} in stage {}",
                         places.ReplicaOf(slow.front()),
                         places.StageOf(slow.front()));
    }
  }
  if (places.Replicas() > 1) {
    if (const auto group =
            CommonGroup(slow, places.World() / places.Replicas(),
                        [&](std::size_t r) { return places.ReplicaOf(r); })) {
      return fmt::format("replica {}", *group);
    }
  }
  return std::nullopt;
}

SlowGroup OfNode(Ranks ranks, const WatchedWorld& world) {
  SlowGroup group;
  const std::size_t first = ranks.front();
  const NodeId& node = world.NodeOf(first);
  const std::size_t size = world.node_size[world.node_of[first]];
  group.culprit.node = node;
  if (ranks.size() == 1) {
    group.culprit.rank = Rank{static_cast<std::int32_t>(first)};
    group.name = RankOnNode(group.culprit.rank, node);
  } else {
    group.shape = SlowGroup::Shape::kNode;
    group.name =
        ranks.size() == size
            ? fmt::format("node {} (all {} ranks)", node, size)
            : fmt::format("node {} ({} of {} ranks)", node, ranks.size(), size);
  }
  group.ranks = std::move(ranks);
  return group;
}

}  // namespace

std::vector<SlowGroup> GroupSlowRanks(const std::vector<std::size_t>& slow,
                                      const WatchedWorld& world) {
  std::map<std::uint32_t, Ranks> by_node;  // In the order of first ranks.
  for (const std::size_t rank : slow) {
    by_node[world.node_of[rank]].push_back(rank);
  }
  std::vector<SlowGroup> groups;
  if (by_node.size() >= 2) {
    SlowGroup all;
    all.ranks = slow;
    if (auto name = CommonGroupName(slow, world.places)) {
      all.shape = SlowGroup::Shape::kGroup;
      all.name = *std::move(name);
      groups.push_back(std::move(all));
      return groups;
    }
    if (by_node.size() > ManyNodes(world)) {
      all.shape = SlowGroup::Shape::kMany;
      all.name =
          fmt::format("{} ranks on {} nodes", slow.size(), by_node.size());
      groups.push_back(std::move(all));
      return groups;
    }
  }
  for (auto& [node, ranks] : by_node) {
    groups.push_back(OfNode(std::move(ranks), world));
  }
  return groups;
}

}  // namespace steadyrun
