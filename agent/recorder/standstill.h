#pragma once

#include "agent/recorder/layout.h"
#include "base/clock.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// From this long without a step or a change of phase on a rank stands still,
// and what it tells of where is sent: the soonest verdict about a hang comes
// after 5 s (HangOptions::stopped). Where steps are usually longer the library
// waits longer before it tells (agent/python/steadyrun/_standstill.py), so that
// heartbeats of healthy runs stay small.
inline constexpr Duration kStandstill = std::chrono::seconds(3);

// Puts collectives, stack and stack_age into `state`, whose progress_age is
// known. What was taken before the rank last advanced is left out. Everything
// in `raw` is the trainer's to damage.
void TakeStandstill(const srun_standstill& raw, MonoTime now, RankState* state);

}  // namespace steadyrun::agent
