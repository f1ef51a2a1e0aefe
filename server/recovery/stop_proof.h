#pragma once

#include <string>

#include "server/model/run_state.h"
#include "server/policy/policy.h"
#include "server/recovery/cluster_view.h"

namespace steadyrun {

// Why this node is known to run nothing of attempts <= `stopped`; kNone: it is
// not known. A node passed over behind the fence that comes back while the run
// is still stopping must confirm after all: evidence beats presumption.
StopProof ProveStopped(const NodeAssignment& assignment, const RunState& state,
                       const ClusterView& cluster, const Policy& policy);

// Updates every node's proof. True if all have one.
struct ProofSummary {
  bool is_complete = false;
  bool has_changed = false;
  std::string missing;  // Names of the nodes without proof, at most four.
};
ProofSummary UpdateProofs(RunState* state, const ClusterView& cluster,
                          const Policy& policy);

}  // namespace steadyrun
