#include "fleet/sim/fault.h"

#include <spdlog/fmt/fmt.h>

namespace steadyrun::fleet {

std::string_view FaultKindName(FaultKind kind) {
  switch (kind) {
    case FaultKind::kCrash:
      return "crash";
    case FaultKind::kLinkLost:
      return "link_lost";
    case FaultKind::kHang:
      return "hang";
    case FaultKind::kNodeLost:
      return "node_lost";
    case FaultKind::kAgentLost:
      return "agent_lost";
    case FaultKind::kStraggler:
      return "straggler";
    case FaultKind::kSlowdown:
      return "slowdown";
    case FaultKind::kDataStall:
      return "data_stall";
    case FaultKind::kCheckpointSlow:
      return "checkpoint_slow";
    case FaultKind::kNan:
      return "nan";
    case FaultKind::kSpikeBenign:
      return "loss_spike_benign";
    case FaultKind::kSpikeMalignant:
      return "loss_spike";
    case FaultKind::kDivergence:
      return "divergence";
    case FaultKind::kGradExplosion:
      return "grad_explosion";
    case FaultKind::kCorruption:
      return "corruption";
    case FaultKind::kKlBlowup:
      return "kl_blowup";
    case FaultKind::kEntropyCollapse:
      return "entropy_collapse";
    case FaultKind::kRewardCollapse:
      return "reward_collapse";
    case FaultKind::kLengthExplosion:
      return "length_explosion";
    case FaultKind::kRolloutMismatch:
      return "rollout_mismatch";
    case FaultKind::kGenerationStall:
      return "generation_stall";
  }
  return "unknown";
}

bool StopsTheJob(FaultKind kind) {
  return kind == FaultKind::kCrash || kind == FaultKind::kLinkLost ||
         kind == FaultKind::kHang || kind == FaultKind::kNodeLost;
}

std::string_view FaultScopeName(FaultScope scope) {
  switch (scope) {
    case FaultScope::kRank:
      return "rank";
    case FaultScope::kNode:
      return "node";
    case FaultScope::kGroup:
      return "group";
    case FaultScope::kJob:
      return "job";
  }
  return "unknown";
}

std::string TruthCsv(const std::vector<Fault>& faults, MonoTime start) {
  std::string csv =
      "id,kind,scope,node,rank,ranks,onset_step,end_step,onset_seconds,"
      "severity,comment\n";
  for (const Fault& fault : faults) {
    if (!fault.has_struck) continue;
    const std::string end =
        fault.steps > 0 ? fmt::format("{}", fault.onset.value + fault.steps - 1)
                        : "";
    const bool is_job = fault.scope == FaultScope::kJob;
    csv += fmt::format("{},{},{},{},{},{},{},{},{:.3f},{:.4g},{}\n", fault.id,
                       FaultKindName(fault.kind), FaultScopeName(fault.scope),
                       is_job ? "" : fault.node,
                       is_job ? "" : fmt::format("{}", fault.rank.value),
                       is_job ? "" : fmt::format("{}", fault.ranks),
                       fault.onset.value, end, ToSeconds(fault.struck - start),
                       fault.severity, fault.comment);
  }
  return csv;
}

}  // namespace steadyrun::fleet
