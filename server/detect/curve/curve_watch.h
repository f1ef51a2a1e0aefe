#pragma once

// All detectors of the training curve behind one face.
//
//   CurveWatch watch(options);
//   watch.Begin(attempt, now);               // at each Start
//   watch.ObserveRow(row, now, &verdicts);   // each closed row
//
// Verdicts are a function of the points and their order; `now` only dates
// them. Trends never mix attempts. What has to be known across attempts, the
// malignant events so far, is History(): it stays while the attempts are of
// one run, and can be handed to another watch.
//
// Steps. A row that closes late (its step is not above the newest) is passed
// over; eight complete ones in a row that follow each other, or a step far
// back, are a trainer that has gone back by itself: all trends begin anew
// there.
//
// Reinforcement learning is known by a reported reward or PPO KL. Its loss is a
// surrogate without a level to fall to, so spike, divergence and plateau are
// not judged there.
//
// About 25 KiB a run, whatever the number of ranks; below a microsecond a
// point on average (tests/bench/curve). One thread; pure.

#include <array>
#include <cstdint>

#include "base/clock.h"
#include "server/detect/curve/curve_point.h"
#include "server/detect/curve/curve_report.h"
#include "server/detect/curve/divergence.h"
#include "server/detect/curve/entropy_collapse.h"
#include "server/detect/curve/grad_explosion.h"
#include "server/detect/curve/kl_blowup.h"
#include "server/detect/curve/length_explosion.h"
#include "server/detect/curve/loss_scale.h"
#include "server/detect/curve/loss_spike.h"
#include "server/detect/curve/metric_aliases.h"
#include "server/detect/curve/options.h"
#include "server/detect/curve/plateau.h"
#include "server/detect/curve/reward_collapse.h"
#include "server/detect/curve/reward_hacking.h"
#include "server/detect/curve/rollback_plan.h"
#include "server/detect/curve/rollout_mismatch.h"
#include "server/detect/curve/step_line.h"
#include "server/detect/watched_attempt.h"
#include "server/model/step_row.h"

namespace steadyrun {

class CurveWatch {
 public:
  explicit CurveWatch(const CurveOptions& options);

  void Begin(const WatchedAttempt& attempt, Now now);
  // Rows of other attempts are ignored. Appends to `verdicts`.
  void ObserveRow(const StepRow& row, Now now, Verdicts* verdicts);
  // For a caller that has one number a metric already, of the attempt begun.
  void ObservePoint(const CurvePoint& point, Now now, Verdicts* verdicts);

  const CurveHistory& History() const { return rollback_.History(); }
  // After Begin(): replaces what is known of the run.
  void Restore(const CurveHistory& history) { rollback_.Restore(history); }

 private:
  void ResetTrends();
  void ObserveLoss(const CurveContext& context, const CurvePoint& point);
  void ObserveSignals(const CurveContext& context, const SignalValues& signals);

  CurveOptions options_;
  WatchedAttempt attempt_;
  RollbackPlanner rollback_;
  RowReducer reducer_;
  SignalReader reader_;
  StepLine line_;
  bool is_reinforcement_ = false;

  LossSpike spike_;
  GradExplosion grad_;
  Divergence divergence_;
  Plateau plateau_;
  LossScale loss_scale_;
  KlBlowup kl_;
  EntropyCollapse entropy_;
  RewardCollapse reward_;
  RewardHacking hacking_;
  LengthExplosion length_;
  RolloutMismatch mismatch_;
};

}  // namespace steadyrun
