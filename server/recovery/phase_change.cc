#include "server/recovery/phase_change.h"

#include <utility>

#include "base/check.h"
#include "server/recovery/time_ledger.h"

namespace steadyrun {

bool IsLegalEdge(RunPhase from, RunPhase to) {
  using enum RunPhase;
  switch (from) {
    case kPlacing:
      return to == kVerifying || to == kStopping || to == kRunning;
    case kVerifying:
      return to == kStarting || to == kPlacing || to == kStopping ||
             to == kRunning;
    case kStarting:
      return to == kRunning || to == kStopping || to == kCompleted;
    case kRunning:
      return to == kStopping || to == kCompleted;
    case kStopping:
      return to == kPlacing || to == kPaused || to == kHalted ||
             to == kStopped || to == kRunning;
    case kPaused:
    case kHalted:
      return to == kStopping;
    case kCompleted:
    case kStopped:
      return false;
  }
  return false;
}

void EnterPhase(RunState* state, RunPhase phase, std::string reason, Now now) {
  SR_CHECK(IsLegalEdge(state->phase, phase));
  Account(state, CauseOfPhase(*state), now.wall);
  state->phase = phase;
  state->phase_reason = std::move(reason);
  state->phase_since = now;
  state->phase_deadline = MonoTime::max();
}

void EnterStopping(RunState* state, AfterStop after, std::string reason,
                   Now now) {
  EnterPhase(state, RunPhase::kStopping, std::move(reason), now);
  state->after_stop = after;
  state->held_incident = 0;
  for (NodeAssignment& assignment : state->placement) {
    assignment.proof = StopProof::kNone;
  }
}

}  // namespace steadyrun
