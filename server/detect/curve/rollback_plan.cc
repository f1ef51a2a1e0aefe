#include "server/detect/curve/rollback_plan.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstdlib>

namespace steadyrun {

bool RollbackPlanner::IsKnown(AttemptId attempt, Step onset) const {
  return history_.chain > 0 && attempt == history_.last_attempt &&
         onset <= history_.last_judged;
}

void RollbackPlanner::Count(AttemptId attempt, Step onset, Step judged,
                            std::int64_t stride) {
  const bool is_near =
      history_.chain > 0 && std::abs(onset.value - history_.last_onset.value) <=
                                options_.recur_within * stride;
  history_.chain = is_near ? history_.chain + 1 : 1;
  if (history_.chain == 2) ++history_.reductions;
  history_.last_attempt = attempt;
  history_.last_onset = onset;
  history_.last_judged = judged;
}

RollbackAnswer RollbackPlanner::Malignant(AttemptId attempt, Step onset,
                                          Step judged, std::int64_t stride) {
  const Step before = history_.last_onset;
  const bool is_known = IsKnown(attempt, onset);
  if (!is_known) Count(attempt, onset, judged, stride);
  // The same event asks for the same.
  if (is_known) onset = std::min(onset, history_.last_onset);
  RollbackAnswer answer;
  RollbackPlan& plan = answer.plan;
  plan.below =
      Step{std::max<std::int64_t>(0, onset.value - options_.below * stride)};
  if (history_.chain >= 3) {
    answer.advice = Advice::kHalt;
    answer.why = fmt::format(
        "malignant event {} in a row, each within {} steps of the one before: "
        "neither other data nor a lower learning rate has helped",
        history_.chain, options_.recur_within * stride);
    return answer;
  }
  if (history_.chain == 2) {
    plan.learning_rate_factor =
        history_.reductions > 1 ? options_.next_factor : options_.factor;
    answer.why = fmt::format(
        "the second malignant event within {} steps (the other at step {}): "
        "it was not the data, so the learning rate is to be lowered to {:.3g} "
        "times",
        options_.recur_within * stride, before.value,
        plan.learning_rate_factor);
    return answer;
  }
  plan.skip_from =
      Step{std::max<std::int64_t>(0, onset.value - options_.lead * stride)};
  plan.skip_to =
      Step{std::clamp(judged.value, onset.value + options_.skip * stride,
                      onset.value + options_.skip_max * stride)};
  answer.why = fmt::format(
      "go back to a checkpoint at or before step {} and leave out the data of "
      "steps {} to {}",
      plan.below.value, plan.skip_from.value, plan.skip_to.value);
  return answer;
}

}  // namespace steadyrun
