#include "server/detect/curve/curve_watch.h"

namespace steadyrun {

CurveWatch::CurveWatch(const CurveOptions& options)
    : options_(options),
      rollback_(options.rollback),
      spike_(options.loss_spike),
      grad_(options.grad_explosion),
      divergence_(options.divergence),
      plateau_(options.plateau),
      loss_scale_(options.loss_scale) {}

void CurveWatch::Begin(const WatchedAttempt& attempt, Now) {
  if (attempt.run != attempt_.run) rollback_.Restore(CurveHistory());
  attempt_ = attempt;
  is_reinforcement_ = false;
  line_ = StepLine();
  ResetTrends();
}

void CurveWatch::ResetTrends() {
  spike_.Begin();
  grad_.Begin();
  divergence_.Begin();
  plateau_.Begin();
  loss_scale_.Begin();
  kl_.Begin();
  entropy_.Begin();
  reward_.Begin();
  hacking_.Begin();
  length_.Begin();
  mismatch_.Begin();
}

void CurveWatch::ObserveRow(const StepRow& row, Now now, Verdicts* verdicts) {
  if (row.run != attempt_.run || row.attempt != attempt_.attempt) return;
  // What a node brings after the row had closed without it.
  if (!row.is_complete && row.step <= line_.Newest()) return;
  ObservePoint(reducer_.Reduce(row), now, verdicts);
}

void CurveWatch::ObservePoint(const CurvePoint& point, Now now,
                              Verdicts* verdicts) {
  const StepLine::Place place = line_.Add(point.step);
  if (place == StepLine::Place::kLate) return;
  if (place == StepLine::Place::kRewound) ResetTrends();
  const CurveContext context{.attempt = &attempt_,
                             .now = now,
                             .step = point.step,
                             .stride = line_.Stride(),
                             .point = line_.Points(),
                             .rollback = &rollback_,
                             .verdicts = verdicts};
  const SignalValues signals = reader_.Read(point.names, point.values);
  is_reinforcement_ |= signals.Has(Signal::kScore) ||
                       signals.Has(Signal::kReward) ||
                       signals.Has(Signal::kUpdateKl);
  ObserveSignals(context, signals);
  grad_.Observe(context, point.grad_norm);
  loss_scale_.Observe(context, point.loss_scale);
  if (!is_reinforcement_) ObserveLoss(context, point);
}

void CurveWatch::ObserveLoss(const CurveContext& context,
                             const CurvePoint& point) {
  spike_.Observe(context, point.loss, grad_.IsHigh());
  divergence_.Observe(context, point.loss, point.grad_norm, spike_.IsOpen());
  if (divergence_.IsMalignant()) spike_.BecomeDivergence(context);
  plateau_.Observe(context, point.loss, spike_.Trend().Baseline(),
                   spike_.Trend().Scale());
}

void CurveWatch::ObserveSignals(const CurveContext& context,
                                const SignalValues& signals) {
  const RlOptions& rl = options_.rl;
  if (rl.kl_blowup) kl_.Observe(context, signals);
  if (rl.entropy_collapse) entropy_.Observe(context, signals);
  if (rl.reward_collapse) reward_.Observe(context, signals);
  if (rl.reward_hacking) hacking_.Observe(context, signals);
  if (rl.length_explosion) length_.Observe(context, signals);
  if (rl.rollout_mismatch) mismatch_.Observe(context, signals);
}

}  // namespace steadyrun
