#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "server/model/run_state.h"
#include "server/policy/policy.h"

namespace steadyrun {

// All ranks save the same step without a collective: the service picks a step
// that no rank has reached yet, far enough ahead that the word is everywhere
// before anybody arrives.

// A rank whose word came too late says MISSED, and the margin doubles, at most
// policy.save attempts times.

// Steps between the newest known step of any rank and the agreed one: what is
// done in `reach` (command's way there, reports' way here), plus two.
// `step_seconds`: median of recent steps; 0 if unknown.
std::int64_t SaveMargin(Duration reach, double step_seconds,
                        std::int32_t doublings);

// Agrees on a step: sets save_seq, save_step, save_then_stop. Returns it.
Step OrderSave(RunState* state, const SavePolicy& policy, Step newest_step,
               double step_seconds, bool then_stop, std::string request_id);

// Some rank had passed the step already. True: a new step is agreed; false:
// given up, and no save is in progress any more.
bool RetryMissedSave(RunState* state, const SavePolicy& policy,
                     Step newest_step, double step_seconds);

// The save is done, or pointless now.
void ClearSave(RunState* state);

}  // namespace steadyrun
