// The picture of one run for people.

#include <algorithm>

#include "base/robust_stats.h"
#include "server/engine/run_controller.h"
#include "server/policy/allowance.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/run_verdict.h"
#include "server/recovery/stop_proof.h"

namespace steadyrun {

RunView RunController::View(Now now) const {
  RunView view;
  view.state = state_;
  view.loss = loss_;
  view.grad_norm = grad_norm_;
  view.step_seconds = Median({step_seconds_.begin(), step_seconds_.end()});
  if (view.step_seconds > 0) {
    view.tokens_per_second = tokens_ / view.step_seconds;
  }
  for (const auto& [name, node] : core_.sessions->Nodes()) {
    for (const NodeRunState& run : node.state.runs) {
      if (run.run != state_.spec.run) continue;
      view.ranks_alive += static_cast<std::int32_t>(std::count_if(
          run.ranks.begin(), run.ranks.end(), [](const RankState& rank) {
            return rank.life != RankLife::kExited;
          }));
    }
  }
  if (IsLive(state_.phase)) {
    view.progress_age = now.mono - watch_.Progress().LastAdvance();
    view.progress_deadline = watch_.Hang().DeadlineNow(watch_.Progress());
  }
  const CheckpointChoice choice = SelectCheckpoint(
      ledger_.All(), state_.rollback_below, state_.rollback_to);
  if (choice.checkpoint != nullptr) {
    view.checkpoint_step = choice.checkpoint->step;
  }
  view.loss_line = loss_line_.Points();
  const GoodputWindow::Share share = goodput_.Of(state_);
  view.goodput = share.goodput;
  view.goodput_over = share.over;
  view.policy_mode = DescribeMode(policy_);
  view.restarts_left = RestartsLeft(policy_, state_.restarts, now.mono);

  VerdictInput input{state_,
                     book_.Open(),
                     view.progress_age,
                     view.checkpoint_step,
                     view.restarts_left,
                     IsLive(state_.phase) && watch_.Silence().IsMassSilence(),
                     "",
                     now.mono};
  view.open_incidents = static_cast<std::int32_t>(input.open.size());
  if (state_.phase == RunPhase::kStopping) {
    RunState probe = state_;
    input.waiting_for =
        UpdateProofs(&probe, core_.cluster->View(now), policy_).missing;
  }
  RunVerdict verdict = DescribeRun(input);
  view.verdict = std::move(verdict.verdict);
  view.why = std::move(verdict.why);
  view.next = std::move(verdict.next);
  return view;
}

}  // namespace steadyrun
