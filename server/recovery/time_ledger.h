#pragma once

#include "base/clock.h"
#include "server/model/records.h"
#include "server/model/run_state.h"

namespace steadyrun {

// Where a run's wall time goes. All of it is accounted, once: `accounted` moves
// forward only, and each stretch goes to one cause, so that the seconds sum to
// `accounted - created`. Wall time, as people will compare it with a clock;
// nothing is decided by it. A wall clock set back counts as no time.

// The stretch from `accounted` to `until` was spent on `cause`.
void Account(RunState* state, TimeCause cause, WallTime until);

// A step was completed by all ranks: the first time (productive), or again
// after a rollback (rework).
void AccountStep(RunState* state, Step step, WallTime until);

// A fault of a running attempt was found: what was done of the current step is
// lost (rework), and from `onset` on the run stood undetected.
void AccountFault(RunState* state, WallTime onset, WallTime until);

// A fault that waits for the release of a hold is answered now: the time since
// it was found, or since a step was made, went to the hold.
void AccountHeldFault(RunState* state, WallTime until);

// `seconds` of time accounted to steps were spent blocked in saving.
void ChargeCheckpoint(RunState* state, Step step, double seconds);

// What time of a phase that makes no steps is put down to.
TimeCause CauseOfPhase(const RunState& state);

// The sum over all causes.
double AccountedSeconds(const RunState& state);

}  // namespace steadyrun
