#pragma once

#include <cstdint>

#include "base/clock.h"
#include "server/model/run_state.h"
#include "server/policy/allowance.h"
#include "server/policy/policy.h"

namespace steadyrun {

// What the restarts behind a run say about one more. The limits themselves are
// policy's (allowance.h); this file knows what counts as progress, what an
// operator's order forgives, and keeps the record.
struct GuardVerdict {
  Allowance allowance;
  bool made_progress = false;         // The failed attempt passed max_step.
  std::int32_t without_progress = 0;  // Restarts in a row, after this failure.
};

// Failures from before the operator's last order to start count against the
// budgets of hour and day only. A failure of an attempt that no automatic
// restart had begun is not a restart without progress.
GuardVerdict JudgeRestart(const RunState& state, const Failure& failure,
                          const Policy& policy, MonoTime now);

// Writes the restart down; the oldest records fall off past kMaxRestarts.
void RecordRestart(RunState* state, const Failure& failure,
                   const GuardVerdict& verdict, Now now);
inline constexpr std::size_t kMaxRestarts = 256;

// An operator orders a start: the run gets its patience back.
void ForgiveFailures(RunState* state);

// Whether `failure` happened at this step, or before it, in an earlier attempt
// since the last such order: rolling back did not help.
bool HasHappenedBefore(const RunState& state, const Failure& failure,
                       const Policy& policy);

}  // namespace steadyrun
