#pragma once

// Going back from a malignant loss spike or divergence: what a detector
// planned, sharpened by what has been tried before. Pure.
//
// The recipe is PaLM's (Chowdhery et al. 2022, section 5.1): resume from a
// checkpoint about 100 steps before the onset and leave out the data of the
// following few hundred steps. It does not always help, so the second time
// within kRecurrenceSteps the data is kept and the learning rate lowered, as
// OPT-175B did by hand (Zhang et al. 2022, section 2.5); the third time a
// person must look.

#include <cstdint>
#include <string>
#include <vector>

#include "server/model/finding.h"
#include "server/model/run_state.h"
#include "server/policy/allowance.h"
#include "server/recovery/checkpoint_selector.h"

namespace steadyrun {

// Two of these within so many steps are one story.
inline constexpr std::int64_t kRecurrenceSteps = 2000;
// The second time: small enough to cost little, and it was enough for OPT.
inline constexpr double kLowerLearningRate = 0.9;
// Times in one story after which the run halts.
inline constexpr int kTrainingRollbacks = 2;

// Earlier rollbacks of the training near the failure's step.
int CountTrainingRollbacks(const RunState& state, const Failure& failure);

// The plan for the n-th time, n from 0.
RollbackPlan PlanFor(const RollbackPlan& found, int times);

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
