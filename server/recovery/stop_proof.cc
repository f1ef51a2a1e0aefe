#include "server/recovery/stop_proof.h"

#include <fmt/format.h>

namespace steadyrun {
namespace {

// A stream that has ended is evidence of its own, so less patience than with
// one that is only silent; still long enough for an agent that restarts.
constexpr Duration kFenceDisconnected = std::chrono::seconds(2);

// Nodes gone for longer are old losses, and say nothing about us.
constexpr Duration kOldLoss = std::chrono::minutes(10);

bool IsMostOfClusterHeard(const ClusterView& cluster) {
  int heard = 0;
  int silent = 0;
  for (const NodeFacts& facts : cluster.nodes) {
    if (facts.is_connected) {
      ++heard;
    } else if (facts.state != nullptr && facts.silence < kOldLoss) {
      ++silent;
    }
  }
  return heard > 0 && heard >= silent;
}

// Silence is no proof of death. It is enough to pass a node over, because what
// may still run there can neither join the next attempt (own rendezvous) nor
// overwrite (own directory, ledger). But if most nodes are silent at once, the
// network or this server is at fault, and nothing is concluded.
bool MayFence(const NodeFacts& facts, const RunState& state,
              const ClusterView& cluster, const Policy& policy) {
  if (cluster.is_settling) return false;
  const Duration patience = facts.is_connected
                                ? policy.detect.silence.silent_after
                                : kFenceDisconnected;
  if (facts.silence < patience) return false;
  // A node that is out of use and silent for long is not waited for.
  if (facts.is_quarantined && !facts.is_connected &&
      facts.silence >= policy.detect.silence.alone) {
    return true;
  }
  const auto nodes = static_cast<int>(state.placement.size());
  if (nodes > 1 && 2 * ConnectedNodes(state.placement, cluster) >= nodes) {
    return true;
  }
  // No witness in the run itself; after long, the rest of the cluster is one.
  return facts.silence >= policy.detect.silence.alone &&
         IsMostOfClusterHeard(cluster);
}

}  // namespace

StopProof ProveStopped(const NodeAssignment& assignment, const RunState& state,
                       const ClusterView& cluster, const Policy& policy) {
  const NodeFacts* facts = cluster.Find(assignment.node);
  if (facts == nullptr || facts->state == nullptr || !facts->is_connected) {
    if (assignment.proof != StopProof::kNone) return assignment.proof;
    NodeFacts unknown;
    unknown.node = assignment.node;
    unknown.silence = Duration::max();
    return MayFence(facts == nullptr ? unknown : *facts, state, cluster, policy)
               ? StopProof::kFenced
               : StopProof::kNone;
  }
  if (!assignment.boot_id.empty() &&
      facts->state->boot_id != assignment.boot_id) {
    return StopProof::kRebooted;
  }
  const AttemptId floor = state.attempt.Next();
  const NodeRunState* run = FindRun(*facts, state.spec.run);
  if (run != nullptr && run->floor >= floor && !HasLiveRanksBelow(run, floor)) {
    return StopProof::kConfirmed;
  }
  if (assignment.proof == StopProof::kConfirmed) return assignment.proof;
  return MayFence(*facts, state, cluster, policy) ? StopProof::kFenced
                                                  : StopProof::kNone;
}

ProofSummary UpdateProofs(RunState* state, const ClusterView& cluster,
                          const Policy& policy) {
  ProofSummary summary;
  int missing = 0;
  for (NodeAssignment& assignment : state->placement) {
    const StopProof proof = ProveStopped(assignment, *state, cluster, policy);
    if (proof != assignment.proof) summary.has_changed = true;
    assignment.proof = proof;
    if (proof != StopProof::kNone) continue;
    if (++missing <= 4) {
      summary.missing += (missing > 1 ? ", " : "") + assignment.node;
    }
  }
  if (missing > 4) summary.missing += fmt::format(" and {} more", missing - 4);
  summary.is_complete = missing == 0;
  return summary;
}

}  // namespace steadyrun
