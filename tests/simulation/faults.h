#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/clock.h"

namespace steadyrun::sim {

// What can go wrong, by itself. Injected by chaos.cc.
enum class FaultKind {
  // Training processes.
  kKillRank,     // SIGKILL.
  kExitRank,     // A Python exception.
  kStopRank,     // SIGSTOP; mostly for good, sometimes for some seconds.
  kHangRank,     // Alive, not stopped, never arrives.
  kNan,          // The next step's loss is not finite.
  kSlowRank,     // Steps take longer for a while; no fault at all.
  kLongPhase,    // Checkpoint, evaluation or compile; no fault at all.
  kTrainingCut,  // The ranks' own network stands still for a while.
  kCrashAtStep,  // From now on every attempt dies at one step.
  kNanAtStep,    // From now on every attempt meets NaN at one step.
  kSpawnFails,   // The next spawn on a node fails.
  // Nodes and agents.
  kKillAgent,
  kCrashNode,       // Power off; boots again later.
  kReimageNode,     // Crash, and its state directory is gone.
  kWipeState,       // The state directory is gone, and the ranks still live.
  kLoseSpool,       // The spool is gone, the state is not.
  kPauseNode,       // Everything on it is stopped, then goes on as a zombie.
  kUnkillable,      // Nothing on the node dies for up to 30 s (D state).
  kAgentDisk,       // The agent's state file cannot be written for a while.
  kAgentSpoolFull,  // The agent's spool refuses telemetry for a while.
  // The service.
  kKillServer,
  kPauseServer,
  kServerDisk,  // Commits fail for a while.
  // The network between agents and service.
  kCutNode,  // Both ways.
  kCutOneWay,
  kCutMany,  // More than half of the nodes, or all.
  kBreakStream,
  kResend,       // The transport sends reports again that were sent before.
  kStaleServer,  // A connection ends up at an instance of an older epoch, or
                 // at a copy of equal epoch, that still gives orders.
  kLateCommand,  // An order meant for the node's earlier life arrives.
  kEarlyStart,   // A Start arrives while an older attempt still lives.
  // Elsewhere.
  kClockJump,  // Wall time of a machine jumps by up to a day.
  kCorruptCheckpoint,
  kOperator,  // A person does something.
  kCount,
};
inline constexpr std::size_t kFaultKinds =
    static_cast<std::size_t>(FaultKind::kCount);
std::string_view FaultName(FaultKind kind);

// Every probability of a simulation, in one place.
struct FaultOptions {
  std::string_view profile;
  // Mean time between two faults of a kind; zero: never.
  std::array<Duration, kFaultKinds> mean{};
  // Chance, per 200 ms of a recovery in progress, of one more fault at once.
  double during_recovery = 0;

  // Network, agent to service and back.
  Duration delay_min{std::chrono::microseconds(200)};
  Duration delay_max{std::chrono::milliseconds(20)};
  double slow_message = 0;  // Chance of a delay of up to 2 s.
  // How long until an end notices that the other one is gone without a word.
  Duration keepalive_min{std::chrono::seconds(5)};
  Duration keepalive_max{std::chrono::seconds(25)};

  // Disks.
  Duration commit_min{std::chrono::microseconds(300)};
  Duration commit_max{std::chrono::milliseconds(12)};
  Duration persist_min{std::chrono::microseconds(300)};
  Duration persist_max{std::chrono::milliseconds(30)};

  // Processes.
  double peers_hang = 0;      // When a peer dies, the rest hang, not exit.
  double zombie_saves = 0.5;  // A resumed zombie writes a shard before it dies.
  double crash_loses_notice = 0.3;  // Agent dies between effect and answer.

  Duration& operator[](FaultKind kind) {
    return mean[static_cast<std::size_t>(kind)];
  }
  Duration operator[](FaultKind kind) const {
    return mean[static_cast<std::size_t>(kind)];
  }
};

// No faults: only delays, long phases and slow steps, which are legitimate.
FaultOptions HealthyFaults();
// Each kind every few minutes.
FaultOptions DefaultFaults();
// Several at any time.
FaultOptions StormFaults();
// Few at first, and more while a recovery is in progress.
FaultOptions RecoveryFaults();
// One of the above, by seed.
FaultOptions FaultsOfSeed(std::uint64_t seed);

}  // namespace steadyrun::sim
