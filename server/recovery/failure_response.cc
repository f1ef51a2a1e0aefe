#include <fmt/format.h>

#include <utility>

#include "server/recovery/hold.h"
#include "server/recovery/machine_steps.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/restart_guard.h"
#include "server/recovery/time_ledger.h"
#include "server/recovery/training_rollback.h"

namespace steadyrun {
namespace {

Remedy Chosen(const GuardVerdict& verdict) {
  return verdict.allowance.verdict == AllowanceVerdict::kHalt
             ? Remedy::kHalt
             : verdict.allowance.remedy;
}

// Whatever else is done: what was saved from a step on that was not finite is
// not finite either; of a malignant spike, what was saved too near to it.
void DistrustPoisoned(const FailureFound& found, Advanced* result) {
  if (found.plan.has_value()) {
    result->intents.push_back(DistrustFrom{
        found.plan->below,
        fmt::format("saved at or after step {}, too near to the onset of a {}",
                    found.plan->below.value,
                    IncidentKindName(found.failure.kind))});
  }
  if (found.failure.kind != IncidentKind::kNan) return;
  const Step onset = found.failure.step;
  result->intents.push_back(DistrustFrom{
      onset, fmt::format("saved at or after the step {} that was not finite",
                         onset.value)});
}

// From which checkpoints the run may not resume any more.
void RollBack(RunState* state, const FailureFound& found, bool is_again,
              Advanced* result) {
  if (found.plan.has_value()) {
    ApplyPlan(*found.plan, state);
    // Corruption names a rank: its device is suspect.
    state->avoid_node = found.culprit.node;
    return;
  }
  if (found.failure.kind != IncidentKind::kNan) {
    // Nothing says which step was bad: go below the checkpoint used last.
    if (state->resume_step != kNoStep) {
      state->rollback_below = state->resume_step;
    }
    return;
  }
  const Step onset = found.failure.step;
  state->rollback_below = onset;
  if (is_again && state->resume_step != kNoStep) {
    result->intents.push_back(DistrustCheckpoint{
        state->resume_attempt, state->resume_step,
        fmt::format("resumed from it, step {} was not finite again",
                    onset.value)});
  }
}

void ApplyRemedy(RunState* state, const FailureFound& found, Remedy remedy,
                 bool is_again, Advanced* result) {
  DistrustPoisoned(found, result);
  if (remedy == Remedy::kRollback) RollBack(state, found, is_again, result);
  if (remedy == Remedy::kReplaceNode) state->avoid_node = found.culprit.node;
}

void AccountFailure(RunState* state, const FailureFound& found, Now now) {
  AccountHeldFault(state, now.wall);
  if (state->phase == RunPhase::kRunning) {
    AccountFault(state, found.onset, now.wall);
  }
}

// What `found` would be answered with but for the hold, tried on a copy.
std::string WouldBe(RunState copy, const FailureFound& found,
                    const RecoveryContext& context, Now now) {
  copy.is_held = false;
  const Advanced tried = RespondToFailure(&copy, found, context, now);
  std::string action;
  for (const Intent& intent : tried.intents) {
    if (const auto* decided = std::get_if<Decided>(&intent)) {
      action = decided->action;
    }
  }
  if (copy.after_stop != AfterStop::kRestart) return action;
  if (found.plan.has_value()) {
    return DescribePlan(*found.plan, copy, context.checkpoints);
  }
  const CheckpointChoice choice = SelectCheckpoint(
      context.checkpoints, copy.rollback_below, copy.rollback_to);
  return choice.checkpoint == nullptr
             ? action + " from the beginning"
             : fmt::format("{} from the checkpoint of step {}", action,
                           choice.checkpoint->step.value);
}

Advanced Halt(RunState* state, const FailureFound& found,
              const std::string& why, Now now) {
  Advanced result;
  result.has_changed = true;
  result.reason = fmt::format("halts: {}; {}", why, found.reason);
  DistrustPoisoned(found, &result);
  AccountFailure(state, found, now);
  EnterStopping(state, AfterStop::kHalt, result.reason, now);
  state->open_incident = found.incident;
  result.intents.push_back(Decided{"halt", result.reason});
  result.intents.push_back(
      PageOperator{fmt::format("run {} {}", state->spec.run, result.reason)});
  return result;
}

// The pause that was waiting for its save takes place without it.
Advanced PauseInstead(RunState* state, const FailureFound& found, Now now) {
  Advanced result;
  result.has_changed = true;
  result.reason = "pauses without its save: " + found.reason;
  DistrustPoisoned(found, &result);
  AccountFailure(state, found, now);
  EnterStopping(state, AfterStop::kPause, result.reason, now);
  state->open_incident = found.incident;
  result.intents.push_back(Decided{"pause", result.reason});
  return result;
}

Advanced Restart(RunState* state, const FailureFound& found,
                 const GuardVerdict& verdict, bool is_again, Now now) {
  Advanced result;
  result.has_changed = true;
  const std::string remedy(RemedyName(verdict.allowance.remedy));
  result.reason = fmt::format("{}: {}", remedy, found.reason);
  AccountFailure(state, found, now);
  ApplyRemedy(state, found, verdict.allowance.remedy, is_again, &result);
  RecordRestart(state, found.failure, verdict, now);
  state->restarts.back().rolled_back =
      verdict.allowance.remedy == Remedy::kRollback;
  EnterStopping(state, AfterStop::kRestart, result.reason, now);
  state->phase_deadline = verdict.allowance.not_before;
  state->open_incident = found.incident;
  result.intents.push_back(Decided{remedy, verdict.allowance.reason});
  return result;
}

// While the attempt is being stopped, better evidence names another cause: the
// record and the remedy follow it, the stop goes on.
Advanced Amend(RunState* state, const FailureFound& found,
               const RecoveryContext& context, Now now) {
  Advanced result;
  const bool is_recorded = !state->restarts.empty() &&
                           state->restarts.back().attempt == state->attempt;
  if (state->after_stop != AfterStop::kRestart || !is_recorded) return result;
  const RestartRecord former = state->restarts.back();
  // Judged anew, as if the record had not been written.
  state->restarts.pop_back();
  if (state->restarts_without_progress > 0) {
    --state->restarts_without_progress;
  }
  const bool is_again =
      HasHappenedBefore(*state, found.failure, context.policy);
  const GuardVerdict verdict =
      JudgeRestart(*state, found.failure, context.policy, now.mono);
  result.has_changed = true;
  result.reason = "better evidence: " + found.reason;
  state->open_incident = found.incident;
  const Remedy remedy = Chosen(verdict);
  if (remedy == Remedy::kHalt) {
    DistrustPoisoned(found, &result);
    state->after_stop = AfterStop::kHalt;
    state->phase_reason =
        fmt::format("halts: {}; {}", verdict.allowance.reason, found.reason);
    result.intents.push_back(Decided{"halt", state->phase_reason});
    result.intents.push_back(PageOperator{
        fmt::format("run {} {}", state->spec.run, state->phase_reason)});
    return result;
  }
  ApplyRemedy(state, found, remedy, is_again, &result);
  RecordRestart(state, found.failure, verdict, now);
  state->restarts.back().rolled_back = remedy == Remedy::kRollback;
  state->restarts.back().at = former.at;
  state->restarts.back().at_mono = former.at_mono;
  state->phase_reason = fmt::format("{}: {}", RemedyName(remedy), found.reason);
  result.intents.push_back(
      Decided{std::string(RemedyName(remedy)), result.reason});
  return result;
}

}  // namespace

Advanced RespondToFailure(RunState* state, const FailureFound& found,
                          const RecoveryContext& context, Now now) {
  if (state->phase == RunPhase::kStopping) {
    return Amend(state, found, context, now);
  }
  // Elsewhere nothing of an attempt lives that could fail.
  if (!IsLive(state->phase)) return {};
  if (state->save_then_stop) return PauseInstead(state, found, now);
  const bool is_again =
      HasHappenedBefore(*state, found.failure, context.policy);
  const GuardVerdict verdict =
      JudgeRestart(*state, found.failure, context.policy, now.mono);
  const Remedy remedy = Chosen(verdict);
  if (IsHeldBack(*state, context) && StopsTheAttempt(remedy)) {
    const std::string would = WouldBe(*state, found, context, now);
    AccountFailure(state, found, now);
    return KeepFault(state, found, would);
  }
  if (remedy == Remedy::kHalt) {
    return Halt(state, found, verdict.allowance.reason, now);
  }
  if (found.must_halt && StopsTheAttempt(remedy)) {
    return Halt(state, found, "rolling back has not helped", now);
  }
  if (!StopsTheAttempt(remedy)) {
    Advanced result;
    result.reason = verdict.allowance.reason;
    result.intents.push_back(Decided{std::string(RemedyName(remedy)),
                                     verdict.allowance.reason, found.incident});
    return result;
  }
  return Restart(state, found, verdict, is_again, now);
}

Advanced RespondToFailedCheck(RunState* state, const ShardCheckFailed& failed,
                              Now now) {
  Advanced result;
  if (state->phase != RunPhase::kVerifying || state->resume_step == kNoStep) {
    return result;
  }
  result.has_changed = true;
  result.reason = fmt::format(
      "the checkpoint of step {} cannot be resumed from: rank {} "
      "on {}: {}",
      state->resume_step.value, failed.rank.value, failed.node, failed.error);
  result.intents.push_back(
      DistrustCheckpoint{state->resume_attempt, state->resume_step,
                         fmt::format("rank {} on {}: {}", failed.rank.value,
                                     failed.node, failed.error)});
  result.intents.push_back(Decided{"next_checkpoint", result.reason});
  if (state->rollback_to.has_value()) {
    // The operator's wish cannot be met; the nearest older one is closest.
    state->rollback_below = state->rollback_to;
    state->rollback_to.reset();
    result.intents.push_back(PageOperator{
        fmt::format("run {}: {}; the next older one is taken instead",
                    state->spec.run, result.reason)});
  }
  EnterPhase(state, RunPhase::kPlacing, result.reason, now);
  return result;
}

}  // namespace steadyrun
