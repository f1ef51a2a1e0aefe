#pragma once

// Of ranks that hang, which ones stand elsewhere than the others: stacks are
// normalised (addresses, line numbers and identifiers of threads removed) and
// grouped; those outside of the group that holds more than half are the
// outliers. Waiters all stand in the same collective, who keeps them waiting
// does not. O(total length of the frames). Fed by standstills.h.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "server/detect/collective_wait.h"

namespace steadyrun {

struct RankStack {
  Rank rank;
  std::span<const std::string> frames;  // Innermost first; not owned.
};

struct StackClusters {
  struct Cluster {
    std::string top;          // Its innermost frame, normalised.
    std::vector<Rank> ranks;  // In the order of the input.
  };
  std::vector<Cluster> clusters;  // Largest first.
  // Ranks outside of the largest cluster; empty when that holds no more than
  // half, or all.
  std::vector<Rank> outliers;
  // The smallest communicator that holds all outliers, an index of the input.
  std::optional<std::size_t> shared;
};

StackClusters ClusterStacks(std::span<const RankStack> stacks,
                            std::span<const Communicator> communicators);

// "0x7f3a" and numbers become "#".
std::string NormaliseFrame(std::string_view frame);

}  // namespace steadyrun
