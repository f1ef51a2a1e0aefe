#pragma once

// All detectors that judge the training itself, from step rows alone: what the
// service feeds live and what `steadyrun backtest` feeds from a recording, so
// that both give the same verdicts.
//
//   TrainingWatch watch(options);
//   watch.Begin(attempt, now);             // at each Start
//   watch.ObserveRow(row, now, &verdicts)  // each closed row, in any order
//
// Rows of other attempts are ignored; trends never mix attempts. Verdicts are
// a function of the rows and their order, never of `now`, which only dates the
// findings. O(1) state a rank. One thread; pure.

#include "base/clock.h"
#include "server/detect/curve/curve_watch.h"
#include "server/detect/integrity/integrity_watch.h"
#include "server/detect/nan_detector.h"
#include "server/detect/options.h"
#include "server/detect/speed/speed_watch.h"
#include "server/detect/watched_attempt.h"
#include "server/model/step_row.h"

namespace steadyrun {

class TrainingWatch {
 public:
  explicit TrainingWatch(const DetectOptions& options);

  void Begin(const WatchedAttempt& attempt, Now now);
  // After Begin(): the malignant events that are known of the run.
  void Remember(const CurveHistory& history) { curve_.Restore(history); }
  // Appends to `verdicts`.
  void ObserveRow(const StepRow& row, Now now, Verdicts* verdicts);
  // A checkpoint of the attempt is complete; `seconds`: its slowest rank's.
  void ObserveSave(Step step, double seconds, Now now, Verdicts* verdicts) {
    speed_.ObserveSave(step, seconds, now, verdicts);
  }

 private:
  NanDetector nan_;
  CurveWatch curve_;
  SpeedWatch speed_;
  IntegrityWatch integrity_;
};

}  // namespace steadyrun
