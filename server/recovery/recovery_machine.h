#pragma once

// What a run does next. A pure function: state, trigger, what is known, and
// the time in; the changed state, what else must be done, and the reason out.
//
//   kPlacing -> kVerifying -> kStarting -> kRunning
//      ^             |            |           |        fault, or an order
//      |             v            v           v
//      +--------- (again)     kStopping <-----+
//      |                          |  all nodes proved
//      +--------------------------+--> kPaused, kHalted --(order)--> kStopping
//                                 +--> kStopped
//   kStarting, kRunning -> kCompleted
//
// Commands are no output: they follow from the state (command_derivation.h),
// again and again until the nodes show them done. So nothing is forgotten
// when the service or a connection dies at any point of this.
//
// Quasi-states, told apart by fields:
//   kRunning with save_then_stop   a pause waits for its save
//   kPlacing before phase_deadline back-off
//   kStopping by after_stop        what follows
//   any phase with is_held         an operator's hold, see hold.h
//
// docs/state-machines.md has the table of edges.

#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/model/run_state.h"
#include "server/policy/allowance.h"
#include "server/policy/policy.h"
#include "server/recovery/checkpoint_selector.h"
#include "server/recovery/cluster_view.h"

namespace steadyrun {

// --- Triggers.

// Facts of the cluster changed, or time passed.
struct Reconsider {};
// Something ended or poisoned the attempt, and policy acts on its kind.
struct FailureFound {
  Failure failure;
  std::int64_t incident = 0;
  Culprit culprit;
  WallTime onset;
  std::string reason;
  // Of a judgement about the training: how far back, and what then.
  std::optional<RollbackPlan> plan;
  // The detector's last word: only a person can help.
  bool must_halt = false;
};
// A node could not read what it would resume from.
struct ShardCheckFailed {
  NodeId node;
  Rank rank = kNoRank;
  std::string error;
};
// Every rank of the current attempt has completed this step. Only while the
// attempt is starting, running, being stopped or just completed.
struct StepCompleted {
  Step step;
};
// Every rank of the current attempt has ended well.
struct AllFinished {};
// The save that a pause waits for is complete, or can no longer be.
struct PauseSaveEnded {
  std::string how;
};

enum class Order {
  kPause,
  kResume,
  kRestart,
  kRollback,
  kStop,
  kHold,
  kUnhold
};
struct OperatorOrdered {
  Order order = Order::kRestart;
  std::string actor;
  std::string reason;
  std::string request_id;
  Step step = kNoStep;         // kRollback.
  Step newest_step = kNoStep;  // kPause: of any rank, for the agreement.
  double step_seconds = 0;     // kPause.
};
// Nodes run every rank of an attempt this service knows nothing of: its store
// is older than the cluster (restored from a copy).
struct ForeignAttemptFound {
  AttemptId attempt;
  std::vector<NodeAssignment> placement;
};

using Trigger = std::variant<Reconsider, FailureFound, ShardCheckFailed,
                             StepCompleted, AllFinished, PauseSaveEnded,
                             OperatorOrdered, ForeignAttemptFound>;

// --- What the engine does besides storing the state.

struct DistrustCheckpoint {
  AttemptId attempt;
  Step step;
  std::string reason;
};
struct DistrustFrom {  // All of the run's checkpoints at or after `step`.
  Step step;
  std::string reason;
};
struct PageOperator {
  std::string text;
  std::int64_t incident = 0;  // 0: the one being recovered.
};
// For the decision table, the audit trail and the incident's timeline.
struct Decided {
  std::string action;  // "restart", "halt", "start", ...
  std::string reason;
  std::int64_t incident = 0;  // 0: the one being recovered.
};
struct StepsLost {  // By the present incident; the resume step is known now.
  std::int64_t steps = 0;
};
// Passed over behind the fence while the attempt was stopped: for all that is
// known, lost.
struct NodePassedOver {
  NodeId node;
};
using Intent = std::variant<DistrustCheckpoint, DistrustFrom, PageOperator,
                            Decided, StepsLost, NodePassedOver>;

// Deliberate defects, see EngineMutation. All off in programs.
struct RecoveryDefects {
  bool starts_before_all_stopped = false;
  bool counts_silence_as_proof = false;
  bool trusts_distrusted = false;
  bool leaves_pause = false;
  bool ignores_hold = false;
  bool reuses_attempt = false;
};

struct RecoveryContext {
  const Policy& policy;
  const ClusterView& cluster;
  const CheckpointMap& checkpoints;
  // Nodes whose check of the checkpoint to resume from came out well.
  const std::set<NodeId>& verified;
  RecoveryDefects defects;
};

struct Advanced {
  bool has_changed = false;  // Durable facts differ from before.
  absl::Status status;       // FAILED_PRECONDITION: an order not possible now.
  std::string reason;        // One sentence; empty if nothing was decided.
  std::vector<Intent> intents;
};

Advanced Advance(RunState* state, const Trigger& trigger,
                 const RecoveryContext& context, Now now);

// The number of the attempt after the present one: above every number that
// any node has ever obeyed for this run, so that none is used twice even if
// the store was restored from a copy.
AttemptId NextAttempt(const RunState& state, const ClusterView& cluster);

}  // namespace steadyrun
