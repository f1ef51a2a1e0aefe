#include "server/recovery/save_agreement.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace steadyrun {
namespace {

constexpr std::int64_t kSpareSteps = 2;
// Steps of microseconds must not push the save out of sight.
constexpr std::int64_t kMaxMargin = 1'000'000;
constexpr std::int32_t kMaxDoublings = 20;

// Not past the last step of the run, where nobody would save any more.
Step Agree(const RunState& state, Step newest_step, std::int64_t margin) {
  std::int64_t step = newest_step.value + margin;
  const std::int64_t last = state.spec.target_steps - 1;
  if (last > newest_step.value) step = std::min(step, last);
  return Step{step};
}

}  // namespace

std::int64_t SaveMargin(Duration reach, double step_seconds,
                        std::int32_t doublings) {
  std::int64_t margin = kSpareSteps;
  if (step_seconds > 0) {
    margin += static_cast<std::int64_t>(std::min<double>(
        kMaxMargin, std::ceil(ToSeconds(reach) / step_seconds)));
  }
  return std::min(kMaxMargin,
                  margin << std::clamp(doublings, 0, kMaxDoublings));
}

Step OrderSave(RunState* state, const SavePolicy& policy, Step newest_step,
               double step_seconds, bool then_stop, std::string request_id) {
  state->save_margin_doublings = 0;
  state->save_then_stop = then_stop;
  state->save_request_id = std::move(request_id);
  ++state->save_seq;
  state->save_step =
      Agree(*state, newest_step, SaveMargin(policy.margin, step_seconds, 0));
  return *state->save_step;
}

bool RetryMissedSave(RunState* state, const SavePolicy& policy,
                     Step newest_step, double step_seconds) {
  if (state->save_margin_doublings >= policy.attempts) {
    ClearSave(state);
    return false;
  }
  ++state->save_margin_doublings;
  ++state->save_seq;
  state->save_step = Agree(
      *state, newest_step,
      SaveMargin(policy.margin, step_seconds, state->save_margin_doublings));
  return true;
}

void ClearSave(RunState* state) {
  state->save_step.reset();
  state->save_then_stop = false;
  state->save_request_id.clear();
  state->save_margin_doublings = 0;
}

}  // namespace steadyrun
