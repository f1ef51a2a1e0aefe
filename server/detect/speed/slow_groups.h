#pragma once

// From slow ranks to who is slow: one rank, ranks of one node, a parallel
// group, or many. One finding for each, so that a node of eight slow ranks is
// one story.

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "server/detect/speed/watched_world.h"

namespace steadyrun {

struct SlowGroup {
  enum class Shape {
    kRank,   // One rank; its node's others are well.
    kNode,   // Two or more ranks of a node.
    kGroup,  // A tensor group or a replica over several nodes.
    kMany,   // Ranks on many nodes with nothing in common that is known.
  };
  Shape shape = Shape::kRank;
  Culprit culprit;  // Empty for kGroup and kMany: no node is to blame.
  std::vector<std::size_t> ranks;  // Ascending; not empty.
  std::string name;                // "rank 3 on node-b", "replica 2".
};

// Sorts `slow` (ascending, no duplicates) into groups. Over a group's members
// three quarters must be slow for it to be blamed, and all slow ranks must be
// in it. O(ranks).
std::vector<SlowGroup> GroupSlowRanks(const std::vector<std::size_t>& slow,
                                      const WatchedWorld& world);

}  // namespace steadyrun
