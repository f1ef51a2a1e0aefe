#pragma once

// Finds that the whole run has become slower: its step time rose, or it does
// fewer tokens a second though the steps take as long as before.
//
// Model: level_watch.h on the row's median step time and on tokens per second;
// a change of more than `minimum`, 10 %, below which published systems take it
// for jitter too. Time the training code declares as checkpoint, evaluation or
// compile phase is not in the step time; undeclared pauses of up to two in five
// steps leave no trace. Not told, since it has another name:
//   more work a step        the step time rose, tokens per second did not fall;
//                           or `response_length/mean` (RL) rose as much
//   straggler               one is found and accounts for most of it
//   data or generation stall  is found; each of these before or until told
// Told when it has lasted `lasting`, 30 s of training. Over when the level is
// back within half of `minimum`. As evidence, which
// pipeline stage's compute time changed since the onset, or that none did, and
// so communication or waiting must have.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/detect/speed/level_watch.h"
#include "server/detect/speed/options.h"
#include "server/detect/speed/watched_world.h"
#include "server/model/step_row.h"

namespace steadyrun {

class SlowdownDetector {
 public:
  // What other detectors found, as of this row.
  struct Known {
    double straggler_cost = 0;  // 0.10: steps are 10 % longer for it.
    bool is_data_stall = false;
    Step last_slow_rollout = kNoStep;
    // Median compute seconds of each stage; empty when not reported.
    std::span<const float> stage_seconds;
  };

  explicit SlowdownDetector(const SlowdownOptions& options)
      : options_(options), time_(options.minimum), rate_(options.minimum) {}

  void Begin(const WatchedWorld& world);
  // Rows in ascending order of steps, warm-up left out.
  void Observe(const StepRow& row, const Known& known,
               const WatchedWorld& world, Now now, Verdicts* verdicts);

 private:
  // Found, and not told before it has lasted.
  struct Held {
    LevelWatch::Change change;
    bool is_time = true;
    double seconds = 0;  // Of training since the onset.
  };

  void Hold(const LevelWatch::Change& change, bool is_time, const StepRow& row);
  void TellIfLasting(const StepRow& row, const Known& known,
                     const WatchedWorld& world, Now now, Verdicts* verdicts);
  bool IsExplained(const LevelWatch::Change& change, const Known& known) const;
  Finding Describe(const LevelWatch::Change& change, bool is_time,
                   const StepRow& row, const WatchedWorld& world,
                   Now now) const;
  std::string WhereItIs(Step onset) const;
  void ClearIfOver(const WatchedWorld& world, Verdicts* verdicts);

  SlowdownOptions options_;
  LevelWatch time_;
  LevelWatch rate_;
  BlockSeries lengths_;
  std::vector<BlockSeries> stages_;
  // The level before the first change that was told and is not over.
  std::optional<double> usual_time_;
  std::optional<double> usual_rate_;
  std::optional<Held> held_;
};

}  // namespace steadyrun
