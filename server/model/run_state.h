#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "server/model/finding.h"
#include "server/model/run_spec.h"

namespace steadyrun {

// The phases of a run's recovery machine. docs/state-machines.md draws them.
enum class RunPhase {
  kPlacing,    // Choosing nodes; waits while too few are usable.
  kVerifying,  // The nodes re-read the checkpoint to resume from.
  kStarting,   // Start ordered; waiting for a first step on all ranks.
  kRunning,    // The attempt makes steps.
  kStopping,   // Waiting for proof that every rank of the attempt is gone.
  kPaused,     // Stopped by an operator; resumable.
  kHalted,     // Out of options; only an operator moves it.
  kCompleted,  // All ranks finished.
  kStopped,    // Ended by an operator.
};
std::string_view RunPhaseName(RunPhase phase);
inline bool IsEnded(RunPhase phase) {
  return phase == RunPhase::kCompleted || phase == RunPhase::kStopped;
}

// What follows once every rank is proved gone.
enum class AfterStop { kRestart, kPause, kHalt, kEnd };

// Why a node is known to run nothing of the stopped attempt.
enum class StopProof {
  kNone,
  kConfirmed,  // Its agent, on a live session: floor raised, no rank alive.
  kRebooted,   // Its boot_id changed since the attempt was started there.
  kFenced,     // Silent: passed over behind the resource fence (own rendezvous,
               // own checkpoint directory, ledger refuses the old attempt).
};
std::string_view StopProofName(StopProof proof);

struct NodeAssignment {
  NodeId node;
  std::int32_t node_rank = 0;
  std::string boot_id;  // The node's life at the time of Start.
  StopProof proof = StopProof::kNone;
  friend bool operator==(const NodeAssignment&,
                         const NodeAssignment&) = default;
};

// One automatic restart, for budgets and for the same-step rule.
struct RestartRecord {
  WallTime at;
  MonoTime at_mono;   // Re-based when loaded.
  AttemptId attempt;  // The one that failed.
  IncidentKind kind = IncidentKind::kCrash;
  std::string signature;
  Step step = kNoStep;
  bool made_progress = false;  // The failed attempt had passed max_step.
  bool rolled_back = false;    // To before its step.
  friend bool operator==(const RestartRecord&, const RestartRecord&) = default;
};

// Data the training code leaves out, both ends included. Data is numbered by
// the step that uses it when nothing is left out.
struct StepRange {
  Step from = kNoStep;
  Step to = kNoStep;
  friend bool operator==(const StepRange&, const StepRange&) = default;
};
inline constexpr std::size_t kMaxSkips = 16;

// Everything durable about a run, a plain value. Times on the monotonic clock
// die with the process: the store saves what is left of each deadline and
// re-bases it on load (storage/README.md).
struct RunState {
  RunSpec spec;
  RunPhase phase = RunPhase::kPlacing;
  std::string phase_reason;
  Now phase_since;
  // kStarting: first steps are due; kRunning: a pause's save is due; kStopping
  // and kPlacing: no start before it (back-off); kVerifying: answers are due.
  MonoTime phase_deadline = MonoTime::max();
  AfterStop after_stop = AfterStop::kRestart;

  AttemptId attempt;  // Current or last; 0 before the first.
  std::vector<NodeAssignment> placement;  // By node_rank.
  std::string master_address;
  std::int32_t master_port = 0;

  // Where the current attempt resumes from; kNoStep: from the beginning.
  Step resume_step = kNoStep;
  AttemptId resume_attempt;            // Whose directory the checkpoint is in.
  std::optional<Step> rollback_below;  // Resume only from steps below this.
  std::optional<Step> rollback_to;     // Operator asked for exactly this.
  // What rollbacks of the training have asked of every later attempt.
  std::vector<StepRange> skips;     // Ascending, at most kMaxSkips.
  double learning_rate_factor = 1;  // Times what the trainer was told to use.
  // An operator has held the run: nothing is stopped or started by itself.
  bool is_held = false;
  std::string hold_reason;  // "held by NAME: REASON".
  // Newest fault of the present attempt whose answer waits for the release of
  // the hold; 0 none.
  std::int64_t held_incident = 0;

  Step max_step = kNoStep;      // Highest step completed by all ranks, ever.
  Step attempt_step = kNoStep;  // Of the current attempt.
  Step max_step_at_start = kNoStep;  // max_step when this attempt began.

  std::uint64_t save_seq = 0;     // Newest save word given out.
  std::optional<Step> save_step;  // Agreed step of a save in progress.
  bool save_then_stop = false;
  std::string save_request_id;  // Who asked; empty: policy.
  std::int32_t save_margin_doublings = 0;

  std::vector<RestartRecord> restarts;  // Oldest first, at most 256.
  std::int32_t restarts_without_progress = 0;
  // Failures of attempts before this one count only against the budget: an
  // operator has ordered a start since.
  AttemptId guard_from;
  NodeId avoid_node;  // Not used by the next attempt if a spare is there.
  std::int64_t open_incident = 0;  // Number of the one being recovered; 0 none.
  std::int64_t incidents = 0;      // Counts up.

  WallTime created;
  WallTime ended;
  std::int64_t attempts = 0;
  // What is older belongs to an earlier run of this name, and counts for
  // nothing here.
  AttemptId first_attempt;
  std::map<std::int32_t, std::string> finished;  // Rank -> parameters_sha256.
  std::map<std::string, double> time_seconds;    // TimeCauseName -> seconds.
  WallTime accounted;  // Up to when time_seconds holds the run's time.
  friend bool operator==(const RunState&, const RunState&) = default;
};

}  // namespace steadyrun
