#pragma once

// The ranks of the watched attempt with their places: what every detector of
// speed asks for. Made once an attempt.

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "server/detect/watched_attempt.h"
#include "server/model/parallel_layout.h"

namespace steadyrun {

struct WatchedWorld {
  WatchedAttempt attempt;
  RankPlaces places;
  std::vector<std::uint32_t> node_of;    // By rank: an index of a node.
  std::vector<std::uint32_t> node_size;  // By that index: its ranks.

  WatchedWorld() = default;
  WatchedWorld(const WatchedAttempt& watched, const ParallelLayout& layout)
      : attempt(watched), places(layout, watched.WorldSize()) {
    std::map<NodeId, std::uint32_t> index;
    node_of.reserve(attempt.WorldSize());
    for (const NodeId& node : attempt.rank_nodes) {
      const auto next = static_cast<std::uint32_t>(index.size());
      const std::uint32_t at = index.try_emplace(node, next).first->second;
      if (at == node_size.size()) node_size.push_back(0);
      ++node_size[at];
      node_of.push_back(at);
    }
  }

  std::size_t Size() const { return node_of.size(); }
  const NodeId& NodeOf(std::size_t rank) const {
    return attempt.rank_nodes[rank];
  }
};

}  // namespace steadyrun
