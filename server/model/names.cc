#include <string_view>

#include "server/model/checkpoint.h"
#include "server/model/finding.h"
#include "server/model/incident.h"
#include "server/model/records.h"
#include "server/model/run_state.h"

// The words of every enum of the model, as SQL, JSON, metrics and people see
// them: one place, so that one concept keeps one word.

namespace steadyrun {

std::string_view IncidentKindName(IncidentKind kind) {
  switch (kind) {
    case IncidentKind::kCrash:
      return "crash";
    case IncidentKind::kHang:
      return "hang";
    case IncidentKind::kNodeLost:
      return "node_lost";
    case IncidentKind::kAgentLost:
      return "agent_lost";
    case IncidentKind::kNan:
      return "nan";
    case IncidentKind::kCheckpointBad:
      return "checkpoint_bad";
    case IncidentKind::kCheckpointOverdue:
      return "checkpoint_overdue";
    case IncidentKind::kStartFailed:
      return "start_failed";
    case IncidentKind::kStorage:
      return "storage";
    case IncidentKind::kStraggler:
      return "straggler";
    case IncidentKind::kSlowdown:
      return "slowdown";
    case IncidentKind::kDataStall:
      return "data_stall";
    case IncidentKind::kCheckpointSlow:
      return "checkpoint_slow";
    case IncidentKind::kLossSpike:
      return "loss_spike";
    case IncidentKind::kGradExplosion:
      return "grad_explosion";
    case IncidentKind::kDivergence:
      return "divergence";
    case IncidentKind::kPlateau:
      return "plateau";
    case IncidentKind::kLossScale:
      return "loss_scale";
    case IncidentKind::kKlBlowup:
      return "kl_blowup";
    case IncidentKind::kEntropyCollapse:
      return "entropy_collapse";
    case IncidentKind::kRewardCollapse:
      return "reward_collapse";
    case IncidentKind::kRewardHacking:
      return "reward_hacking";
    case IncidentKind::kLengthExplosion:
      return "length_explosion";
    case IncidentKind::kRolloutMismatch:
      return "rollout_mismatch";
    case IncidentKind::kGenerationStall:
      return "generation_stall";
    case IncidentKind::kCorruption:
      return "corruption";
  }
  return "unknown";
}

bool IsTrainingKind(IncidentKind kind) {
  return kind >= IncidentKind::kStraggler;
}

std::string_view AdviceName(Advice advice) {
  switch (advice) {
    case Advice::kRecord:
      return "record";
    case Advice::kReport:
      return "report";
    case Advice::kReplaceNode:
      return "replace_node";
    case Advice::kRollback:
      return "rollback";
    case Advice::kHalt:
      return "halt";
  }
  return "unknown";
}

std::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kCritical:
      return "critical";
  }
  return "unknown";
}

std::string_view IncidentStateName(IncidentState state) {
  switch (state) {
    case IncidentState::kOpen:
      return "open";
    case IncidentState::kRecovered:
      return "recovered";
    case IncidentState::kClosed:
      return "closed";
  }
  return "unknown";
}

std::string_view CheckpointStateName(CheckpointState state) {
  switch (state) {
    case CheckpointState::kWritten:
      return "written";
    case CheckpointState::kComplete:
      return "complete";
    case CheckpointState::kVerified:
      return "verified";
    case CheckpointState::kTrusted:
      return "trusted";
    case CheckpointState::kDistrusted:
      return "distrusted";
  }
  return "unknown";
}

std::string_view RunPhaseName(RunPhase phase) {
  switch (phase) {
    case RunPhase::kPlacing:
      return "placing";
    case RunPhase::kVerifying:
      return "verifying";
    case RunPhase::kStarting:
      return "starting";
    case RunPhase::kRunning:
      return "running";
    case RunPhase::kStopping:
      return "stopping";
    case RunPhase::kPaused:
      return "paused";
    case RunPhase::kHalted:
      return "halted";
    case RunPhase::kCompleted:
      return "completed";
    case RunPhase::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view StopProofName(StopProof proof) {
  switch (proof) {
    case StopProof::kNone:
      return "none";
    case StopProof::kConfirmed:
      return "confirmed";
    case StopProof::kRebooted:
      return "rebooted";
    case StopProof::kFenced:
      return "fenced";
  }
  return "unknown";
}

std::string_view TimeCauseName(TimeCause cause) {
  switch (cause) {
    case TimeCause::kProductive:
      return "productive";
    case TimeCause::kStartup:
      return "startup";
    case TimeCause::kCheckpoint:
      return "checkpoint";
    case TimeCause::kDetection:
      return "detection";
    case TimeCause::kStopping:
      return "stopping";
    case TimeCause::kRestarting:
      return "restarting";
    case TimeCause::kRework:
      return "rework";
    case TimeCause::kPaused:
      return "paused";
    case TimeCause::kWaitingForNodes:
      return "waiting_for_nodes";
    case TimeCause::kHalted:
      return "halted";
    case TimeCause::kHeld:
      return "held";
    case TimeCause::kOther:
      return "other";
  }
  return "unknown";
}

}  // namespace steadyrun
