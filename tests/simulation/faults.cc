#include "tests/simulation/faults.h"

#include <chrono>

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

std::string_view FaultName(FaultKind kind) {
  switch (kind) {
    case FaultKind::kKillRank:
      return "kill_rank";
    case FaultKind::kExitRank:
      return "exit_rank";
    case FaultKind::kStopRank:
      return "stop_rank";
    case FaultKind::kHangRank:
      return "hang_rank";
    case FaultKind::kNan:
      return "nan";
    case FaultKind::kSlowRank:
      return "slow_rank";
    case FaultKind::kLongPhase:
      return "long_phase";
    case FaultKind::kTrainingCut:
      return "training_cut";
    case FaultKind::kCrashAtStep:
      return "crash_at_step";
    case FaultKind::kNanAtStep:
      return "nan_at_step";
    case FaultKind::kSpawnFails:
      return "spawn_fails";
    case FaultKind::kKillAgent:
      return "kill_agent";
    case FaultKind::kCrashNode:
      return "crash_node";
    case FaultKind::kReimageNode:
      return "reimage_node";
    case FaultKind::kWipeState:
      return "wipe_state";
    case FaultKind::kLoseSpool:
      return "lose_spool";
    case FaultKind::kPauseNode:
      return "pause_node";
    case FaultKind::kUnkillable:
      return "unkillable";
    case FaultKind::kAgentDisk:
      return "agent_disk";
    case FaultKind::kAgentSpoolFull:
      return "agent_spool_full";
    case FaultKind::kKillServer:
      return "kill_server";
    case FaultKind::kPauseServer:
      return "pause_server";
    case FaultKind::kServerDisk:
      return "server_disk";
    case FaultKind::kCutNode:
      return "cut_node";
    case FaultKind::kCutOneWay:
      return "cut_one_way";
    case FaultKind::kCutMany:
      return "cut_many";
    case FaultKind::kBreakStream:
      return "break_stream";
    case FaultKind::kResend:
      return "resend";
    case FaultKind::kStaleServer:
      return "stale_server";
    case FaultKind::kLateCommand:
      return "late_command";
    case FaultKind::kEarlyStart:
      return "early_start";
    case FaultKind::kClockJump:
      return "clock_jump";
    case FaultKind::kCorruptCheckpoint:
      return "corrupt_checkpoint";
    case FaultKind::kOperator:
      return "operator";
    case FaultKind::kCount:
      break;
  }
  return "unknown";
}

FaultOptions HealthyFaults() {
  FaultOptions faults;
  faults.profile = "healthy";
  faults[FaultKind::kSlowRank] = minutes(2);
  faults[FaultKind::kLongPhase] = minutes(2);
  faults[FaultKind::kClockJump] = minutes(5);
  faults.slow_message = 0.001;
  return faults;
}

FaultOptions DefaultFaults() {
  FaultOptions faults = HealthyFaults();
  faults.profile = "default";
  faults.mean.fill(minutes(8));
  faults[FaultKind::kCrashAtStep] = minutes(60);
  faults[FaultKind::kNanAtStep] = minutes(60);
  faults[FaultKind::kSpawnFails] = minutes(20);
  faults[FaultKind::kKillAgent] = minutes(4);
  faults[FaultKind::kKillServer] = minutes(4);
  faults[FaultKind::kBreakStream] = minutes(3);
  faults[FaultKind::kResend] = minutes(2);
  faults[FaultKind::kReimageNode] = minutes(20);
  faults[FaultKind::kWipeState] = minutes(20);
  faults[FaultKind::kLoseSpool] = minutes(15);
  faults[FaultKind::kOperator] = minutes(5);
  faults.slow_message = 0.002;
  faults.peers_hang = 0.15;
  return faults;
}

FaultOptions StormFaults() {
  FaultOptions faults = DefaultFaults();
  faults.profile = "storm";
  for (Duration& mean : faults.mean) mean /= 4;
  faults[FaultKind::kCrashAtStep] = minutes(60);
  faults[FaultKind::kNanAtStep] = minutes(60);
  faults.slow_message = 0.01;
  faults.delay_max = milliseconds(200);
  faults.commit_max = milliseconds(60);
  faults.persist_max = milliseconds(400);
  faults.peers_hang = 0.4;
  return faults;
}

FaultOptions RecoveryFaults() {
  FaultOptions faults = DefaultFaults();
  faults.profile = "recovery";
  for (Duration& mean : faults.mean) mean *= 2;
  faults[FaultKind::kKillRank] = minutes(2);
  faults.during_recovery = 0.08;
  faults.commit_max = milliseconds(60);
  faults.persist_max = milliseconds(200);
  faults.peers_hang = 0.3;
  return faults;
}

FaultOptions FaultsOfSeed(std::uint64_t seed) {
  switch (seed % 8) {
    case 0:
      return HealthyFaults();
    case 1:
    case 2:
    case 3:
      return DefaultFaults();
    case 4:
    case 5:
      return StormFaults();
    default:
      return RecoveryFaults();
  }
}

}  // namespace steadyrun::sim
