#include "server/detect/curve/reward_collapse.h"

#include <spdlog/fmt/fmt.h>

namespace steadyrun {
namespace {

constexpr std::size_t kBlock = 4;
constexpr double kRelativeFloor = 0.01;
constexpr double kAbsoluteFloor = 5e-3;
constexpr std::int64_t kMinBlocks = 5;
constexpr double kSum = 16;
constexpr double kDown = 5;

}  // namespace

RewardCollapse::RewardCollapse()
    : fall_({.block = kBlock,
             .relative_floor = kRelativeFloor,
             .absolute_floor = kAbsoluteFloor}) {}

void RewardCollapse::Observe(const CurveContext& context,
                             const SignalValues& signals) {
  const Signal reward =
      signals.Has(Signal::kScore) ? Signal::kScore : Signal::kReward;
  if (!signals.Has(reward)) return;
  if (!fall_.Add(context.step, -signals[reward])) return;
  if (is_open_) {
    if (fall_.Sum() > 0) return;
    is_open_ = false;
    ClearFinding(context, IncidentKind::kRewardCollapse,
                 fmt::format("The reward is back at {:.4g}.", -fall_.Newest()));
    return;
  }
  if (fall_.Sum() <= kSum || fall_.ExcursionBlocks() < kMinBlocks ||
      fall_.Excess() < kDown) {
    return;
  }
  is_open_ = true;
  ReportFinding(
      context,
      {.kind = IncidentKind::kRewardCollapse,
       .detector = "reward_collapse",
       .phase = "falling",
       .onset = fall_.Onset(),
       .reason = fmt::format("The reward has been falling since about step "
                             "{}: {:.4g} at step {}, best level {:.4g}.",
                             fall_.Onset().value, -fall_.Newest(),
                             context.step.value, -fall_.Best()),
       .evidence = {fmt::format(
           "{} blocks of {} points below the best level, the newest by {:.1f}"
           " scales; Page-Hinkley sum {:.1f} of {:.0f}",
           fall_.ExcursionBlocks(), kBlock, fall_.Excess(), fall_.Sum(),
           kSum)}});
}

}  // namespace steadyrun
