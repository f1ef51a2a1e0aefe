#include "server/recovery/time_ledger.h"

#include <algorithm>
#include <string>

namespace steadyrun {
namespace {

void Add(RunState* state, TimeCause cause, double seconds) {
  if (seconds <= 0) return;
  state->time_seconds[std::string(TimeCauseName(cause))] += seconds;
}

bool IsFirstAttempt(const RunState& state) { return state.attempts <= 1; }

}  // namespace

void Account(RunState* state, TimeCause cause, WallTime until) {
  if (until <= state->accounted) return;
  Add(state, cause,
      std::chrono::duration<double>(until - state->accounted).count());
  state->accounted = until;
}

void AccountStep(RunState* state, Step step, WallTime until) {
  Account(state,
          step > state->max_step ? TimeCause::kProductive : TimeCause::kRework,
          until);
}

void AccountFault(RunState* state, WallTime onset, WallTime until) {
  Account(state, TimeCause::kRework, std::min(onset, until));
  Account(state, TimeCause::kDetection, until);
}

void AccountHeldFault(RunState* state, WallTime until) {
  if (state->held_incident == 0) return;
  Account(state, TimeCause::kHeld, until);
  state->held_incident = 0;
}

void ChargeCheckpoint(RunState* state, Step step, double seconds) {
  const TimeCause source = step > state->max_step_at_start
                               ? TimeCause::kProductive
                               : TimeCause::kRework;
  auto it = state->time_seconds.find(std::string(TimeCauseName(source)));
  if (it == state->time_seconds.end()) return;
  // A save that overlaps training (asynchronous) reports no blocked time; one
  // that claims more than there was is cut.
  const double moved = std::clamp(seconds, 0.0, it->second);
  it->second -= moved;
  Add(state, TimeCause::kCheckpoint, moved);
}

TimeCause CauseOfPhase(const RunState& state) {
  switch (state.phase) {
    case RunPhase::kPlacing:
      if (state.is_held) return TimeCause::kHeld;
      [[fallthrough]];
    case RunPhase::kVerifying:
    case RunPhase::kStarting:
      if (state.held_incident != 0) return TimeCause::kHeld;
      return IsFirstAttempt(state) ? TimeCause::kStartup
                                   : TimeCause::kRestarting;
    case RunPhase::kStopping:
      return TimeCause::kStopping;
    case RunPhase::kPaused:
      return TimeCause::kPaused;
    case RunPhase::kHalted:
      return TimeCause::kHalted;
    case RunPhase::kRunning:
    case RunPhase::kCompleted:
    case RunPhase::kStopped:
      return TimeCause::kOther;
  }
  return TimeCause::kOther;
}

double AccountedSeconds(const RunState& state) {
  double sum = 0;
  for (const auto& [cause, seconds] : state.time_seconds) sum += seconds;
  return sum;
}

}  // namespace steadyrun
