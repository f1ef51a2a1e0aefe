#include <fmt/format.h>

#include <string>
#include <utility>

#include "server/recovery/hold.h"
#include "server/recovery/machine_steps.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/restart_guard.h"
#include "server/recovery/save_agreement.h"
#include "server/recovery/time_ledger.h"

namespace steadyrun {
namespace {

Advanced Refuse(std::string why) {
  Advanced result;
  result.status = absl::FailedPreconditionError(why);
  result.reason = std::move(why);
  return result;
}

bool MeansAStart(Order order) {
  return order == Order::kResume || order == Order::kRestart ||
         order == Order::kRollback;
}

std::string WhoAndWhy(const OperatorOrdered& ordered) {
  return fmt::format("by {}: {}", ordered.actor, ordered.reason);
}

// Stops what is there, in any phase that is not ended, then does `after`.
Advanced StopThen(RunState* state, AfterStop after, std::string action,
                  std::string reason, Now now) {
  Advanced result;
  result.has_changed = true;
  result.reason = reason;
  AccountHeldFault(state, now.wall);
  // What was done of the step that is cut off is lost.
  if (state->phase == RunPhase::kRunning) {
    Account(state, TimeCause::kRework, now.wall);
  }
  ClearSave(state);
  if (state->phase == RunPhase::kStopping) {
    state->after_stop = after;
    state->phase_reason = std::move(reason);
    state->phase_deadline = MonoTime::max();
  } else {
    EnterStopping(state, after, std::move(reason), now);
  }
  result.intents.push_back(Decided{std::move(action), result.reason});
  return result;
}

Advanced StartAgain(RunState* state, std::string action, std::string reason,
                    Now now) {
  ForgiveFailures(state);
  state->avoid_node.clear();
  return StopThen(state, AfterStop::kRestart, std::move(action),
                  std::move(reason), now);
}

Advanced Pause(RunState* state, const OperatorOrdered& ordered,
               const RecoveryContext& context, Now now) {
  const std::string reason = "paused " + WhoAndWhy(ordered);
  if (state->phase == RunPhase::kPaused) return Refuse("it is paused already");
  if (state->phase == RunPhase::kHalted) {
    return Refuse("it is halted: resume, restart, rollback or stop it");
  }
  if (state->phase == RunPhase::kStopping &&
      state->after_stop == AfterStop::kHalt) {
    return Refuse("it is about to halt");
  }
  if (state->phase != RunPhase::kRunning || state->attempt_step == kNoStep) {
    return StopThen(state, AfterStop::kPause, "pause", reason, now);
  }
  if (state->save_then_stop) return Refuse("a pause is in progress already");
  Advanced result;
  result.has_changed = true;
  const Step step = OrderSave(state, context.policy.save, ordered.newest_step,
                              ordered.step_seconds,
                              /*then_stop=*/true, ordered.request_id);
  state->phase_deadline = now.mono + context.policy.timeouts.pause_save;
  state->phase_reason =
      fmt::format("saves step {} to be {}", step.value, reason);
  result.reason = state->phase_reason;
  result.intents.push_back(Decided{"pause", result.reason});
  return result;
}

Advanced Resume(RunState* state, const OperatorOrdered& ordered, Now now) {
  if (!AwaitsPerson(state->phase)) {
    return Refuse(
        fmt::format("only a paused or halted run can be resumed; it "
                    "is {}",
                    RunPhaseName(state->phase)));
  }
  return StartAgain(state, "resume", "resumed " + WhoAndWhy(ordered), now);
}

Advanced RollBackTo(RunState* state, const OperatorOrdered& ordered,
                    const RecoveryContext& context, Now now) {
  const CheckpointChoice choice =
      SelectCheckpoint(context.checkpoints, std::nullopt, ordered.step);
  if (choice.checkpoint == nullptr) {
    std::string usable;
    for (const auto& [key, checkpoint] : context.checkpoints) {
      if (!IsUsable(checkpoint)) continue;
      usable += (usable.empty() ? "" : ", ") + std::to_string(key.first.value);
    }
    return Refuse(fmt::format("no usable checkpoint of step {}; usable: {}",
                              ordered.step.value,
                              usable.empty() ? "none" : usable));
  }
  state->rollback_to = ordered.step;
  state->rollback_below.reset();
  Advanced result =
      StartAgain(state, "rollback",
                 fmt::format("rolled back to step {} {}", ordered.step.value,
                             WhoAndWhy(ordered)),
                 now);
  // Else the next fault would resume from the lineage that was given up.
  result.intents.push_back(DistrustFrom{
      Step{ordered.step.value + 1},
      fmt::format("given up by a rollback to step {}", ordered.step.value)});
  return result;
}

}  // namespace

Advanced ObeyOperator(RunState* state, const OperatorOrdered& ordered,
                      const RecoveryContext& context, Now now) {
  if (IsEnded(state->phase)) {
    return Refuse(fmt::format("it has ended ({})", RunPhaseName(state->phase)));
  }
  if (state->phase == RunPhase::kStopping &&
      state->after_stop == AfterStop::kEnd && ordered.order != Order::kStop) {
    return Refuse("it is being stopped for good");
  }
  if (state->is_held && MeansAStart(ordered.order)) {
    return Refuse(fmt::format(
        "it is {}; `steadyrun unhold {}` releases it, then order it again",
        state->hold_reason, state->spec.run));
  }
  switch (ordered.order) {
    case Order::kHold:
      return Hold(state, ordered, now);
    case Order::kUnhold:
      return Unhold(state, ordered, now);
    case Order::kPause:
      return Pause(state, ordered, context, now);
    case Order::kResume:
      return Resume(state, ordered, now);
    case Order::kRestart:
      return StartAgain(state, "restart", "restarted " + WhoAndWhy(ordered),
                        now);
    case Order::kRollback:
      return RollBackTo(state, ordered, context, now);
    case Order::kStop:
      return StopThen(state, AfterStop::kEnd, "stop",
                      "stopped " + WhoAndWhy(ordered), now);
  }
  return Refuse("unknown order");
}

}  // namespace steadyrun
