#pragma once

// A fault of the simulated fleet and the truth about it: what the detectors
// are held against. Plain values.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun::fleet {

enum class FaultKind {
  // --- Of processes and machines.
  kCrash,      // A rank ends: hardware error, exception or signal.
  kLinkLost,   // A node's network fails: all evidence is of lost connections.
  kHang,       // A rank stands still; the others wait for it.
  kNodeLost,   // A node is gone; so is its agent.
  kAgentLost,  // Only the agent is gone, for a while; its ranks go on.
  // --- Of speed.
  kStraggler,  // A rank, a node or a group computes slower.
  kSlowdown,   // All ranks are slower.
  kDataStall,  // Ranks wait for their input.
  kCheckpointSlow,
  // --- Of the training itself.
  kNan,
  kSpikeBenign,     // The loss jumps and comes back by itself.
  kSpikeMalignant,  // It stays up.
  kDivergence,      // It drifts upwards.
  kGradExplosion,   // The gradient norm alone jumps.
  kCorruption,      // The parameters of one replica are other ones.
  // --- Of reinforcement learning.
  kKlBlowup,
  kEntropyCollapse,
  kRewardCollapse,
  kLengthExplosion,
  kRolloutMismatch,
  kGenerationStall,
};
inline constexpr FaultKind kLastFaultKind = FaultKind::kGenerationStall;
inline constexpr std::size_t kFaultKinds =
    static_cast<std::size_t>(kLastFaultKind) + 1;
std::string_view FaultKindName(FaultKind kind);  // "crash", "loss_spike", ...
// Ends the steps of the attempt by itself.
bool StopsTheJob(FaultKind kind);

// How much of the job is concerned.
enum class FaultScope { kRank, kNode, kGroup, kJob };
std::string_view FaultScopeName(FaultScope scope);

struct Fault {
  std::int32_t id = 0;  // Counts up from 1 in order of onset.
  FaultKind kind = FaultKind::kCrash;
  FaultScope scope = FaultScope::kRank;
  // First rank concerned; kNoRank with scope kJob.
  Rank rank = kNoRank;
  // How many, from `rank` on.
  std::int32_t ranks = 1;
  Step onset = kNoStep;  // First step concerned.
  // For how many steps; 0: until the attempt ends, or its node is left out.
  std::int64_t steps = 0;
  // Slower by this share, higher by this many nats, ...: see docs/fleet.md.
  double severity = 0;
  // Tells variants apart: how a process dies or hangs. In [0, 1).
  double variant = 0;

  // --- Filled when it strikes.
  bool has_struck = false;
  Step last = kNoStep;  // Newest step it was in effect at.
  NodeId node;          // That of `rank` then.
  AttemptId attempt;
  MonoTime struck;      // Simulated time.
  std::string comment;  // "SIGKILL", "stopped process", ...
};

// One line a fault, with a header: id,kind,scope,node,rank,ranks,onset_step,
// end_step,onset_seconds,severity,comment. Seconds since `start`. Only those
// that have struck.
std::string TruthCsv(const std::vector<Fault>& faults, MonoTime start);

}  // namespace steadyrun::fleet
