#pragma once

// All detectors of speed behind one face: straggler, slowdown, data_stall,
// checkpoint_slow, generation_stall. Each has its model in its own header.
//
//   SpeedWatch watch(options, layout);
//   watch.Begin(attempt, now);               // at each Start
//   watch.ObserveRow(row, now, &verdicts);   // each closed row
//   watch.ObserveSave(step, seconds, now, &verdicts);
//
// Rows may close a little out of order: a late one is passed over, as one step
// more or less tells nothing of speed. A step counter that jumps back further
// than kLateSteps was set back (a recording of several attempts in one), and
// everything begins anew. The first kWarmUpRows rows after a begin are not
// judged (compilation, caches, first collectives).
//
// Verdicts are a function of the rows and their order; `now` only dates the
// findings. Below 256 bytes a rank, and O(ranks) a row. One thread; pure.

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "server/detect/speed/data_stall_detector.h"
#include "server/detect/speed/generation_detector.h"
#include "server/detect/speed/options.h"
#include "server/detect/speed/save_speed_detector.h"
#include "server/detect/speed/slowdown_detector.h"
#include "server/detect/speed/straggler_detector.h"
#include "server/detect/speed/watched_world.h"
#include "server/detect/watched_attempt.h"
#include "server/model/parallel_layout.h"
#include "server/model/step_row.h"

namespace steadyrun {

class SpeedWatch {
 public:
  static constexpr std::int64_t kWarmUpRows = 5;
  // Rows close when all ranks have reported or their deadline has passed, so
  // more than some tens of steps late is none of this attempt's order.
  static constexpr std::int64_t kLateSteps = 128;

  SpeedWatch(const SpeedOptions& options, const ParallelLayout& layout);

  void Begin(const WatchedAttempt& attempt, Now now);
  // Appends to `verdicts`. Rows of other attempts are ignored.
  void ObserveRow(const StepRow& row, Now now, Verdicts* verdicts);
  // A checkpoint of the watched attempt is complete; `seconds`: the longest
  // time in the checkpoint phase of its ranks.
  void ObserveSave(Step step, double seconds, Now now, Verdicts* verdicts);

  // Straggler detection has what it needs: the last row held compute_seconds
  // of at least 3 peers.
  bool IsJudgingStragglers() const { return straggler_.IsJudging(); }
  // Why the layout was not taken; empty when it was.
  const std::string& LayoutNote() const { return world_.places.Note(); }
  // Of everything that grows with the ranks.
  std::size_t StateBytes() const;

 private:
  // False: the row is to be passed over.
  bool TakeInOrder(Step step);
  void Restart();

  ParallelLayout layout_;
  WatchedWorld world_;
  StragglerDetector straggler_;
  SlowdownDetector slowdown_;
  DataStallDetector data_;
  SaveSpeedDetector save_;
  GenerationDetector generation_;
  Step last_ = kNoStep;
  std::int64_t rows_ = 0;
};

}  // namespace steadyrun
