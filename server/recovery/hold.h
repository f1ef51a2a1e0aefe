#pragma once

// An operator's hold. While RunState::is_held, the machine stops and starts
// nothing by itself, in whatever phase the run is:
//
//   a fault that policy would answer by a stop   is decided as "held", pages,
//                                                and waits for the release
//   a stop that has begun                        goes on to its proof
//   a start that has been ordered                goes on
//   placing, verifying                           wait in kPlacing
//   a save by interval                           is made: it disturbs nothing
//   orders: checkpoint, pause, stop              are obeyed
//   orders: resume, restart, rollback            are refused until the release
//
// On its release, what still stands is answered as it would have been. Not for
// others than the recovery machine.

#include <string>

#include "server/recovery/recovery_machine.h"

namespace steadyrun {

inline bool IsHeldBack(const RunState& state, const RecoveryContext& context) {
  return state.is_held && !context.defects.ignores_hold;
}

Advanced Hold(RunState* state, const OperatorOrdered& ordered, Now now);
Advanced Unhold(RunState* state, const OperatorOrdered& ordered, Now now);

// `found` gets no answer before the release; `would` says which it would be.
Advanced KeepFault(RunState* state, const FailureFound& found,
                   const std::string& would);

// In kPlacing: nothing is chosen before the release.
Advanced WaitForRelease(RunState* state, Now now);
// From kVerifying, where nothing has been started: what the nodes are then is
// looked at after the release.
Advanced GoBackToWait(RunState* state, Now now);

// The run has ended: nothing is left to hold.
void ForgetHold(RunState* state);

}  // namespace steadyrun
