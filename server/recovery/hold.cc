#include "server/recovery/hold.h"

#include <fmt/format.h>

#include "server/recovery/phase_change.h"
#include "server/recovery/time_ledger.h"

namespace steadyrun {
namespace {

Advanced Refuse(std::string why) {
  Advanced result;
  result.status = absl::FailedPreconditionError(why);
  result.reason = std::move(why);
  return result;
}

// The time of a phase without steps belongs to what it was until now.
void AccountPhase(RunState* state, Now now) {
  if (state->phase == RunPhase::kRunning) return;
  Account(state, CauseOfPhase(*state), now.wall);
}

}  // namespace

Advanced Hold(RunState* state, const OperatorOrdered& ordered, Now now) {
  if (state->is_held) {
    return Refuse(fmt::format("it is {} already", state->hold_reason));
  }
  AccountPhase(state, now);
  state->is_held = true;
  state->hold_reason =
      fmt::format("held by {}: {}", ordered.actor, ordered.reason);
  Advanced result;
  result.has_changed = true;
  result.reason = fmt::format(
      "{}; nothing is stopped or started by itself until `steadyrun unhold {}`",
      state->hold_reason, state->spec.run);
  result.intents.push_back(Decided{"hold", state->hold_reason});
  return result;
}

Advanced Unhold(RunState* state, const OperatorOrdered& ordered, Now now) {
  if (!state->is_held) return Refuse("it is not held");
  AccountPhase(state, now);
  Advanced result;
  result.has_changed = true;
  result.reason =
      fmt::format("hold released by {}: {}", ordered.actor, ordered.reason);
  result.intents.push_back(Decided{"unhold", result.reason});
  if (state->held_incident != 0) {
    result.reason +=
        fmt::format("; incident {}:{} is answered if it still stands",
                    state->spec.run, state->held_incident);
  }
  AccountHeldFault(state, now.wall);
  ForgetHold(state);
  if (state->phase == RunPhase::kPlacing) {
    state->phase_reason = result.reason;
    // Patience with nodes begins now.
    state->phase_since = now;
  }
  return result;
}

Advanced KeepFault(RunState* state, const FailureFound& found,
                   const std::string& would) {
  Advanced result;
  result.has_changed = true;
  state->held_incident = found.incident;
  const std::string reason =
      fmt::format("{}; would have been: {}", state->hold_reason, would);
  result.reason = fmt::format("{}; {}", reason, found.reason);
  result.intents.push_back(Decided{"held", reason, found.incident});
  result.intents.push_back(PageOperator{
      fmt::format("run {}: {} Nothing is done: {}. `steadyrun unhold {}` "
                  "releases it",
                  state->spec.run, found.reason, reason, state->spec.run),
      found.incident});
  return result;
}

Advanced WaitForRelease(RunState* state, Now now) {
  Advanced result;
  Account(state, TimeCause::kHeld, now.wall);
  if (state->phase_reason == state->hold_reason) return result;
  state->phase_reason = state->hold_reason;
  result.has_changed = true;
  result.reason = state->hold_reason;
  result.intents.push_back(Decided{"wait", state->hold_reason});
  return result;
}

Advanced GoBackToWait(RunState* state, Now now) {
  Advanced result;
  result.has_changed = true;
  EnterPhase(state, RunPhase::kPlacing, state->hold_reason, now);
  result.reason = state->hold_reason;
  result.intents.push_back(Decided{"wait", state->hold_reason});
  return result;
}

void ForgetHold(RunState* state) {
  state->is_held = false;
  state->hold_reason.clear();
  state->held_incident = 0;
}

}  // namespace steadyrun
