#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/model/run_state.h"
#include "server/policy/policy.h"
#include "server/recovery/cluster_view.h"

namespace steadyrun {

struct Placement {
  std::vector<NodeAssignment> nodes;  // By node_rank; proofs kNone.
  std::string reason;  // Who stays, who is replaced by whom and why.
};
struct PlacementResult {
  std::optional<Placement> placement;  // None: too few nodes are usable.
  std::string missing;                 // Then: what is missing, for a person.
};

// Chooses the nodes of the next attempt.
//  - A usable node of the last placement keeps its node_rank, so that its page
//    cache, its shards and people's notes stay right.
//  - Others are replaced by spares: connected, held by no run, not
// quarantined, and running nothing of this run. Ties go by name, so that
//    equal inputs give equal outputs.
//  - Quarantined nodes, and the one blamed for the last failure, are taken
//    only when nothing else is left (and policy lets them): a run on a suspect
//    is better than one that stands.
PlacementResult ChoosePlacement(const RunState& state,
                                const ClusterView& cluster,
                                const Policy& policy);

}  // namespace steadyrun
