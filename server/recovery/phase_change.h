#pragma once

#include <string>

#include "base/clock.h"
#include "server/model/run_state.h"

namespace steadyrun {

// Whether the machine may go from one phase to another. Checked at every
// change, in every build: a wrong edge must not be stored, let alone obeyed.
bool IsLegalEdge(RunPhase from, RunPhase to);

// Changes the phase: the time since the last account goes to the old one, the
// deadline is cleared. Requires: a legal edge.
void EnterPhase(RunState* state, RunPhase phase, std::string reason, Now now);

// To kStopping, with all proofs still to be given.
void EnterStopping(RunState* state, AfterStop after, std::string reason,
                   Now now);

// Stopped by a person or for one: nothing automatic may start the run.
inline bool AwaitsPerson(RunPhase phase) {
  return phase == RunPhase::kPaused || phase == RunPhase::kHalted;
}
// An attempt may have live processes that are meant to live.
inline bool IsLive(RunPhase phase) {
  return phase == RunPhase::kStarting || phase == RunPhase::kRunning;
}

}  // namespace steadyrun
