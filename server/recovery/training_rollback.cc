#include "server/recovery/training_rollback.h"

#include <fmt/format.h>

#include <algorithm>

namespace steadyrun {

CurveHistory HistoryOf(const RunState& state, const RollbackOptions& options) {
  RollbackPlanner planner(options);
  for (const RestartRecord& restart : state.restarts) {
    if (restart.attempt < state.guard_from || !restart.rolled_back ||
        !IsTrainingKind(restart.kind)) {
      continue;
    }
    planner.Malignant(restart.attempt, restart.step, restart.step, 1);
  }
  return planner.History();
}

std::int64_t DataOfStep(const std::vector<StepRange>& skips, Step step) {
  std::int64_t data = step.value;
  for (const StepRange& skip : skips) {
    if (data >= skip.from.value) data += skip.to.value - skip.from.value + 1;
  }
  return data;
}

void ApplyPlan(const RollbackPlan& plan, RunState* state) {
  state->rollback_below = plan.below;
  state->learning_rate_factor *= plan.learning_rate_factor;
  if (plan.skip_from == kNoStep || plan.skip_to < plan.skip_from) return;
  if (state->skips.size() >= kMaxSkips) return;
  const StepRange skip = {Step{DataOfStep(state->skips, plan.skip_from)},
                          Step{DataOfStep(state->skips, plan.skip_to)}};
  state->skips.push_back(skip);
  std::sort(
      state->skips.begin(), state->skips.end(),
      [](const StepRange& a, const StepRange& b) { return a.from < b.from; });
}

std::string DescribePlan(const RollbackPlan& plan, const RunState& state,
                         const CheckpointMap& checkpoints) {
  const CheckpointChoice choice =
      SelectCheckpoint(checkpoints, plan.below, std::nullopt);
  const Step resume =
      choice.checkpoint == nullptr ? kNoStep : choice.checkpoint->step;
  std::string text =
      choice.checkpoint == nullptr
          ? fmt::format("a rollback to the beginning")
          : fmt::format("a rollback to the {} checkpoint of step {}",
                        CheckpointStateName(choice.checkpoint->state),
                        resume.value);
  const std::int64_t lost = std::max<std::int64_t>(
      0, state.attempt_step.value - std::max<std::int64_t>(0, resume.value));
  text += fmt::format(" ({} steps lost)", lost);
  if (plan.skip_from != kNoStep) {
    text += fmt::format(", leaving out the data of steps {} to {}",
                        plan.skip_from.value, plan.skip_to.value);
  }
  if (plan.learning_rate_factor != 1) {
    text += fmt::format(", with the learning rate times {:g}",
                        plan.learning_rate_factor);
  }
  return text;
}

}  // namespace steadyrun
