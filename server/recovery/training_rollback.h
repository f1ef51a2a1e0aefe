#pragma once

// Going back from a malignant loss spike or divergence: what is told to later
// attempts, and to people. What to ask for is the detector's to say
// (server/detect/curve/rollback_plan.h). Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "server/detect/curve/rollback_plan.h"
#include "server/model/finding.h"
#include "server/model/run_state.h"
#include "server/recovery/checkpoint_selector.h"

namespace steadyrun {

// The malignant events that led to rollbacks, for a detector that starts anew
// with the service: the restarts are stored, what it knew is not.
CurveHistory HistoryOf(const RunState& state, const RollbackOptions& options);

// The number of the data that `step` uses under these skips (ascending).
std::int64_t DataOfStep(const std::vector<StepRange>& skips, Step step);

// What every later attempt is told. The plan speaks of steps of the present
// attempt, the skips of data.
void ApplyPlan(const RollbackPlan& plan, RunState* state);

// "rollback to the verified checkpoint of step 400 (123 steps lost), leaving
// out the data of steps 490 to 700".
std::string DescribePlan(const RollbackPlan& plan, const RunState& state,
                         const CheckpointMap& checkpoints);

}  // namespace steadyrun
