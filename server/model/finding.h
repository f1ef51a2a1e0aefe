#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun {

enum class IncidentKind {
  kCrash,          // A rank's process ended without being asked to.
  kHang,           // No rank advances within its phase's deadline.
  kNodeLost,       // A node is silent and the run does not go on without it.
  kAgentLost,      // A node's agent is silent; its ranks go on.
  kNan,            // A loss or gradient norm is not finite.
  kCheckpointBad,  // Bytes of a checkpoint are missing or changed.
  kCheckpointOverdue,
  kStartFailed,  // An attempt did not come to its first step in time.
  kStorage,      // The service or an agent cannot write to its disk.
  // What is wrong with the training rather than with its processes.
  kStraggler,        // A rank, node or group computes slower than its peers.
  kSlowdown,         // The whole run has become slower: a change point.
  kDataStall,        // Ranks wait for their input.
  kCheckpointSlow,   // Saving takes much longer than it did.
  kLossSpike,        // The loss jumps; benign when it comes back by itself.
  kGradExplosion,    // The gradient norm leaves its range.
  kDivergence,       // The loss drifts upwards over many steps.
  kPlateau,          // The loss has stopped falling.
  kLossScale,        // fp16 loss scaling collapses.
  kKlBlowup,         // RL: the policy leaves its reference.
  kEntropyCollapse,  // RL: the policy stops exploring.
  kRewardCollapse,   // RL: the reward falls and stays down.
  kRewardHacking,    // RL: reward, KL and length rise together.
  kLengthExplosion,  // RL: responses run into their limit.
  kRolloutMismatch,  // RL: rollout and train engines disagree.
  kGenerationStall,  // RL: a rollout takes far longer than others.
  kCorruption,       // Replicas that must be equal are not.
};
inline constexpr std::size_t kIncidentKinds =
    static_cast<std::size_t>(IncidentKind::kCorruption) + 1;
// The last one: names are looked up from the first to this.
inline constexpr IncidentKind kLastIncidentKind = IncidentKind::kCorruption;
// From kStraggler on: judged from step rows (server/detect/training_watch.h).
bool IsTrainingKind(IncidentKind kind);
std::string_view IncidentKindName(IncidentKind kind);  // "crash", "hang", ...

enum class Severity { kInfo, kWarning, kCritical };
std::string_view SeverityName(Severity severity);

struct Culprit {
  NodeId node;          // Empty: unknown.
  Rank rank = kNoRank;  // kNoRank: unknown, or the whole node.
  friend bool operator==(const Culprit&, const Culprit&) = default;
};

// What a detector of the training asks for, at most; policy decides.
enum class Advice {
  kRecord,       // For the history; nobody needs to be told.
  kReport,       // Tell a person.
  kReplaceNode,  // Go on without the culprit's node.
  kRollback,     // See Finding::rollback.
  kHalt,         // A person must look before more is spent.
};
std::string_view AdviceName(Advice advice);  // "record", "replace_node", ...

// How to go back from a malignant spike or divergence.
struct RollbackPlan {
  Step below = kNoStep;      // Resume from a checkpoint before this step.
  Step skip_from = kNoStep;  // Data of [skip_from, skip_to] is left out.
  Step skip_to = kNoStep;
  double learning_rate_factor = 1;  // The trainer multiplies its own by it.
  friend bool operator==(const RollbackPlan&, const RollbackPlan&) = default;
};

// One detector's claim about one attempt, with evidence.
struct Finding {
  IncidentKind kind = IncidentKind::kCrash;
  RunId run;
  AttemptId attempt;
  Culprit culprit;
  Step step = kNoStep;  // Where it showed; for kNan the first bad step.
  Now onset;            // When it began, as far as the evidence tells.
  Severity severity = Severity::kCritical;
  std::string reason;  // One sentence for a person.
  std::vector<std::string> evidence;
  std::string signature;  // Equal for equal failures; empty: none.
  // --- Of training kinds.
  std::string detector;       // Its name in docs/detection.md.
  Step onset_step = kNoStep;  // First abnormal step; `step` is where it fired.
  Advice advice = Advice::kReport;
  RollbackPlan rollback;       // When advice is kRollback.
  std::vector<Rank> suspects;  // Likeliest first, at most kMaxSuspects.

  // The culprit is a presumption: better evidence may replace it.
  bool is_provisional = false;
  // All evidence so far is of victims (peers that lost their connection): the
  // cause is elsewhere and not yet known.
  bool is_victim = false;
  // Cannot be the consequence of a peer's fault: killed from outside, or a
  // node gone. Beside another cause it is a fault of its own.
  bool is_independent = false;
};
inline constexpr std::size_t kMaxSuspects = 3;

}  // namespace steadyrun
