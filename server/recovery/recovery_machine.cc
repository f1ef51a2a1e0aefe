#include "server/recovery/recovery_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "server/recovery/hold.h"
#include "server/recovery/machine_steps.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/placement.h"
#include "server/recovery/save_agreement.h"
#include "server/recovery/stop_proof.h"
#include "server/recovery/time_ledger.h"

namespace steadyrun {
namespace {

// A run that waits for nodes longer than this tells a person. Agents that
// reconnect after a restart of the service come sooner.
constexpr Duration kPatienceForNodes = std::chrono::seconds(5);
// A placed node without a stream for this long is replaced while nothing has
// been started yet: a second place costs less than waiting.
constexpr Duration kPatienceBeforeStart = std::chrono::seconds(2);

void Append(Advanced* to, Advanced from) {
  to->has_changed |= from.has_changed;
  if (!from.reason.empty()) to->reason = std::move(from.reason);
  std::move(from.intents.begin(), from.intents.end(),
            std::back_inserter(to->intents));
}

// --- Stopping.

void ApplyProofDefects(RunState* state, const RecoveryContext& context,
                       ProofSummary* summary) {
  if (context.defects.counts_silence_as_proof) {  // Mutation.
    summary->is_complete = true;
    for (NodeAssignment& assignment : state->placement) {
      const NodeFacts* facts = context.cluster.Find(assignment.node);
      const bool is_silent = facts == nullptr || !facts->is_connected;
      if (assignment.proof == StopProof::kFenced ||
          (assignment.proof == StopProof::kNone && is_silent)) {
        assignment.proof = StopProof::kConfirmed;
      }
      summary->is_complete &= assignment.proof != StopProof::kNone;
    }
  }
  if (context.defects.starts_before_all_stopped) {  // Mutation.
    for (const NodeAssignment& assignment : state->placement) {
      summary->is_complete |= assignment.proof != StopProof::kNone;
    }
  }
}

// Who was passed over and how, for the record; "all confirmed" if nobody.
std::string DescribeProofs(const RunState& state) {
  std::string text;
  for (const NodeAssignment& assignment : state.placement) {
    if (assignment.proof == StopProof::kConfirmed) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", assignment.node,
                        StopProofName(assignment.proof));
  }
  return text.empty() ? "all nodes confirmed" : text;
}

Advanced FinishStopping(RunState* state, const RecoveryContext& context,
                        Now now) {
  Advanced result;
  result.has_changed = true;
  const std::string proofs = DescribeProofs(*state);
  const std::string why = state->phase_reason;
  const MonoTime hold = state->phase_deadline;
  ClearSave(state);
  // The next placement takes this one's place in the state, so that an attempt
  // which may live on somewhere is put on record here.
  for (const NodeAssignment& assignment : state->placement) {
    if (assignment.proof != StopProof::kFenced) continue;
    result.intents.push_back(Decided{
        "fence", fmt::format("{}: passed over, attempt {} may live on there",
                             assignment.node, state->attempt.value)});
    result.intents.push_back(NodePassedOver{assignment.node});
  }
  switch (state->after_stop) {
    case AfterStop::kRestart: {
      const AttemptId stopped = state->attempt;
      if (!context.defects.reuses_attempt) {
        state->attempt = NextAttempt(*state, context.cluster);
      }
      EnterPhase(state, RunPhase::kPlacing, why, now);
      state->phase_deadline = hold;
      result.reason =
          fmt::format("attempt {} is stopped: {}", stopped.value, proofs);
      return result;
    }
    case AfterStop::kPause:
      EnterPhase(state, RunPhase::kPaused, why, now);
      break;
    case AfterStop::kHalt:
      EnterPhase(state, RunPhase::kHalted, why, now);
      break;
    case AfterStop::kEnd:
      EnterPhase(state, RunPhase::kStopped, why, now);
      ForgetHold(state);
      state->ended = now.wall;
      break;
  }
  result.reason = fmt::format("{}: {}", RunPhaseName(state->phase), proofs);
  return result;
}

Advanced ReconsiderStopping(RunState* state, const RecoveryContext& context,
                            Now now) {
  Advanced result;
  ProofSummary summary = UpdateProofs(state, context.cluster, context.policy);
  ApplyProofDefects(state, context, &summary);
  result.has_changed = summary.has_changed;
  if (summary.is_complete) {
    Append(&result, FinishStopping(state, context, now));
  }
  return result;
}

// --- Placing.

// Lowest number that no node has used up for this run.
AttemptId LowestFree(const RunState& state, const ClusterView& cluster) {
  AttemptId highest;
  for (const NodeFacts& facts : cluster.nodes) {
    const NodeRunState* run = FindRun(facts, state.spec.run);
    if (run == nullptr) continue;
    highest = std::max({highest, run->floor, run->started.Next()});
  }
  return highest;
}

CheckpointChoice ChooseCheckpoint(const RunState& state,
                                  const RecoveryContext& context) {
  if (context.defects.trusts_distrusted && !context.checkpoints.empty()) {
    return {&context.checkpoints.rbegin()->second, "mutation"};
  }
  return SelectCheckpoint(context.checkpoints, state.rollback_below,
                          state.rollback_to);
}

Advanced WaitForNodes(RunState* state, const std::string& missing, Now now) {
  Advanced result;
  Account(state, TimeCause::kWaitingForNodes, now.wall);
  if (now.mono - state->phase_since.mono < kPatienceForNodes) return result;
  std::string reason = "waits for nodes: " + missing;
  if (reason == state->phase_reason) return result;
  const bool is_first = state->phase_reason.rfind("waits for nodes", 0) != 0;
  state->phase_reason = reason;
  result.has_changed = true;
  result.reason = reason;
  result.intents.push_back(Decided{"wait", reason});
  if (is_first) {
    result.intents.push_back(
        PageOperator{fmt::format("run {} {}", state->spec.run, reason)});
  }
  return result;
}

Advanced ReconsiderPlacing(RunState* state, const RecoveryContext& context,
                           Now now) {
  Advanced result;
  if (IsHeldBack(*state, context)) return WaitForRelease(state, now);
  if (state->phase_deadline != MonoTime::max() &&
      now.mono < state->phase_deadline) {
    Account(state, CauseOfPhase(*state), now.wall);
    return result;  // Back-off.
  }
  const AttemptId seen = LowestFree(*state, context.cluster);
  if (seen > state->attempt && !context.defects.reuses_attempt) {
    state->attempt = seen;
    result.has_changed = true;
  }
  PlacementResult placed =
      ChoosePlacement(*state, context.cluster, context.policy);
  if (!placed.placement.has_value()) {
    Append(&result, WaitForNodes(state, placed.missing, now));
    return result;
  }
  const CheckpointChoice choice = ChooseCheckpoint(*state, context);
  if (choice.checkpoint != nullptr) {
    state->resume_step = choice.checkpoint->step;
    state->resume_attempt = choice.checkpoint->attempt;
  } else {
    state->resume_step = kNoStep;
    state->resume_attempt = kNoAttempt;
  }
  state->placement = std::move(placed.placement->nodes);
  result.has_changed = true;
  result.reason = fmt::format("attempt {} {}, {}", state->attempt.value,
                              placed.placement->reason, choice.reason);
  EnterPhase(state, RunPhase::kVerifying, result.reason, now);
  state->phase_deadline = now.mono + context.policy.timeouts.verify;
  return result;
}

// --- Verifying: the nodes have raised their floors and read the shards.

enum class Readiness { kReady, kNotYet, kUnfit };

Readiness JudgeReadiness(const NodeAssignment& assignment,
                         const RunState& state,
                         const RecoveryContext& context) {
  const NodeFacts* facts = context.cluster.Find(assignment.node);
  // After a restart of the service, nodes are not heard yet.
  if (facts == nullptr || facts->state == nullptr || !facts->is_connected) {
    const bool is_gone =
        !context.cluster.is_settling &&
        (facts == nullptr || facts->silence >= kPatienceBeforeStart);
    return is_gone ? Readiness::kUnfit : Readiness::kNotYet;
  }
  if (facts->state->boot_id != assignment.boot_id) return Readiness::kUnfit;
  const NodeRunState* run = FindRun(*facts, state.spec.run);
  if (run == nullptr || run->floor < state.attempt) return Readiness::kNotYet;
  // Obeys a higher number than ours, or has used ours up.
  if (run->floor > state.attempt || run->started >= state.attempt) {
    return Readiness::kUnfit;
  }
  if (HasLiveRanksBelow(run, state.attempt)) return Readiness::kNotYet;
  if (assignment.node_rank == 0 && facts->state->rendezvous_port == 0) {
    return Readiness::kNotYet;
  }
  if (state.resume_step != kNoStep &&
      !context.verified.contains(assignment.node)) {
    return Readiness::kNotYet;
  }
  return Readiness::kReady;
}

Advanced BeginStarting(RunState* state, const RecoveryContext& context,
                       Now now) {
  Advanced result;
  result.has_changed = true;
  const NodeFacts* first = context.cluster.Find(state->placement[0].node);
  SR_CHECK(first != nullptr && first->state != nullptr);
  const std::int64_t reached = state->attempt_step.value;
  if (state->attempts > 0 && reached > state->resume_step.value) {
    result.intents.push_back(StepsLost{reached - state->resume_step.value});
  }
  EnterPhase(state, RunPhase::kStarting, state->phase_reason, now);
  state->phase_deadline = now.mono + context.policy.timeouts.start;
  state->master_address = first->state->address;
  state->master_port = first->state->rendezvous_port;
  ++state->attempts;
  state->attempt_step = kNoStep;
  state->max_step_at_start = state->max_step;
  state->finished.clear();
  result.reason = state->phase_reason;
  result.intents.push_back(Decided{"start", result.reason});
  return result;
}

Advanced ReconsiderVerifying(RunState* state, const RecoveryContext& context,
                             Now now) {
  if (IsHeldBack(*state, context)) return GoBackToWait(state, now);
  Advanced result;
  bool is_ready = true;
  for (const NodeAssignment& assignment : state->placement) {
    const Readiness readiness = JudgeReadiness(assignment, *state, context);
    if (readiness == Readiness::kUnfit) {
      result.has_changed = true;
      result.reason = fmt::format("{} cannot be started on: placing again",
                                  assignment.node);
      EnterPhase(state, RunPhase::kPlacing, result.reason, now);
      return result;
    }
    is_ready &= readiness == Readiness::kReady;
  }
  if (is_ready) return BeginStarting(state, context, now);
  if (now.mono >= state->phase_deadline) {
    // Not taken for a bad checkpoint: a slow storage would cost all of them.
    state->phase_deadline = now.mono + context.policy.timeouts.verify;
    result.has_changed = true;
    result.intents.push_back(PageOperator{fmt::format(
        "run {}: attempt {} still waits for its nodes to be ready and to "
        "re-read the checkpoint of step {}",
        state->spec.run, state->attempt.value, state->resume_step.value)});
  }
  return result;
}

// --- Running.

Advanced OnPauseSaveEnded(RunState* state, const std::string& how, Now now) {
  Advanced result;
  if (state->phase != RunPhase::kRunning || !state->save_then_stop) {
    return result;
  }
  result.has_changed = true;
  Account(state, TimeCause::kRework, now.wall);
  EnterStopping(state, AfterStop::kPause,
                fmt::format("{} ({})", state->phase_reason, how), now);
  result.reason = state->phase_reason;
  return result;
}

Advanced OnStepCompleted(RunState* state, Step step, Now now) {
  Advanced result;
  if (step <= state->attempt_step) return result;
  if (!IsLive(state->phase)) {
    // The last steps of an attempt that is being stopped, or has finished, are
    // told late. They count; the time has gone to the phase.
    state->attempt_step = step;
    state->max_step = std::max(state->max_step, step);
    return result;
  }
  if (state->phase == RunPhase::kStarting) {
    EnterPhase(state, RunPhase::kRunning,
               fmt::format("attempt {} makes steps", state->attempt.value),
               now);
    state->rollback_to.reset();
    state->rollback_below.reset();
    state->avoid_node.clear();
    result.has_changed = true;
    result.reason = state->phase_reason;
  }
  AccountStep(state, step, now.wall);
  state->attempt_step = step;
  state->max_step = std::max(state->max_step, step);
  return result;
}

Advanced OnAllFinished(RunState* state, Now now) {
  Advanced result;
  if (!IsLive(state->phase)) return result;
  EnterPhase(state, RunPhase::kCompleted, "all ranks finished", now);
  ClearSave(state);
  ForgetHold(state);
  state->ended = now.wall;
  result.has_changed = true;
  result.reason = state->phase_reason;
  result.intents.push_back(Decided{"complete", state->phase_reason});
  return result;
}

Advanced OnForeignAttempt(RunState* state, const ForeignAttemptFound& found,
                          Now now) {
  Advanced result;
  if (found.attempt <= state->attempt) return result;
  if (AwaitsPerson(state->phase) || IsEnded(state->phase)) return result;
  result.has_changed = true;
  result.reason = fmt::format(
      "attempt {} runs on all its nodes, newer than the {} on record: the "
      "store is older than the cluster; the attempt is taken over",
      found.attempt.value, state->attempt.value);
  if (state->phase == RunPhase::kStarting) {
    EnterPhase(state, RunPhase::kRunning, result.reason, now);
  } else if (state->phase != RunPhase::kRunning) {
    EnterPhase(state, RunPhase::kRunning, result.reason, now);
  }
  state->phase_reason = result.reason;
  state->attempt = found.attempt;
  state->attempts = std::max(state->attempts, found.attempt.value);
  state->attempt_step = kNoStep;
  state->placement = found.placement;
  state->guard_from = found.attempt;
  state->after_stop = AfterStop::kRestart;
  state->held_incident = 0;
  ClearSave(state);
  result.intents.push_back(Decided{"take_over", result.reason});
  result.intents.push_back(
      PageOperator{fmt::format("run {}: {}", state->spec.run, result.reason)});
  return result;
}

Advanced ReconsiderOnce(RunState* state, const RecoveryContext& context,
                        Now now) {
  switch (state->phase) {
    case RunPhase::kStopping:
      return ReconsiderStopping(state, context, now);
    case RunPhase::kPlacing:
      return ReconsiderPlacing(state, context, now);
    case RunPhase::kVerifying:
      return ReconsiderVerifying(state, context, now);
    case RunPhase::kRunning:
      if (state->save_then_stop && now.mono >= state->phase_deadline) {
        return OnPauseSaveEnded(state, "it could not be saved in time", now);
      }
      return {};
    case RunPhase::kPaused:
    case RunPhase::kHalted:
      if (context.defects.leaves_pause) {  // Mutation.
        Advanced result;
        EnterStopping(state, AfterStop::kRestart, "mutation", now);
        result.has_changed = true;
        return result;
      }
      return {};
    case RunPhase::kStarting:
    case RunPhase::kCompleted:
    case RunPhase::kStopped:
      return {};
  }
  return {};
}

// As far as the facts allow in one go: nothing waits for a tick. Bounded: no
// chain of phases without outside news is longer.
Advanced ReconsiderAll(RunState* state, const RecoveryContext& context,
                       Now now) {
  Advanced result;
  for (int i = 0; i < 4; ++i) {
    const RunPhase before = state->phase;
    Append(&result, ReconsiderOnce(state, context, now));
    if (state->phase == before) break;
    // Checks of the former placement say nothing about the next: the caller
    // forgets them first. And a pause is seen before anything leaves it.
    if (before == RunPhase::kVerifying || AwaitsPerson(state->phase)) break;
  }
  return result;
}

}  // namespace

AttemptId NextAttempt(const RunState& state, const ClusterView& cluster) {
  return std::max(state.attempt.Next(), LowestFree(state, cluster));
}

Advanced Advance(RunState* state, const Trigger& trigger,
                 const RecoveryContext& context, Now now) {
  return std::visit(
      [&](const auto& t) -> Advanced {
        using T = std::decay_t<decltype(t)>;
        if constexpr (std::is_same_v<T, Reconsider>) {
          return ReconsiderAll(state, context, now);
        } else if constexpr (std::is_same_v<T, FailureFound>) {
          return RespondToFailure(state, t, context, now);
        } else if constexpr (std::is_same_v<T, ShardCheckFailed>) {
          return RespondToFailedCheck(state, t, now);
        } else if constexpr (std::is_same_v<T, StepCompleted>) {
          return OnStepCompleted(state, t.step, now);
        } else if constexpr (std::is_same_v<T, AllFinished>) {
          return OnAllFinished(state, now);
        } else if constexpr (std::is_same_v<T, PauseSaveEnded>) {
          return OnPauseSaveEnded(state, t.how, now);
        } else if constexpr (std::is_same_v<T, OperatorOrdered>) {
          return ObeyOperator(state, t, context, now);
        } else {
          static_assert(std::is_same_v<T, ForeignAttemptFound>);
          return OnForeignAttempt(state, t, now);
        }
      },
      trigger);
}

}  // namespace steadyrun
