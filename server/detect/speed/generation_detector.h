#pragma once

// RL post-training: finds that generating responses takes far longer than it
// did (an inference engine that preempts, swaps or lost a worker), or that one
// rollout rank keeps the others waiting. A rollout that never ends is a hang.
//
// Model. Time: the first of `rollout_seconds` (this project's), `timing_s/gen`,
// `timing_s/generate_sequences` (verl) and `timing/rollout` (MindSpeed-RL) that
// the row holds.
//   stall      median over the ranks, divided by `response_length/mean` where
//              it is reported (longer answers take longer: that is
//              length_explosion), is above factor x the median of the last 32
//              rows for 2 rows in a row, or once above 3 factor. 16 rows first
//   straggler  the slowest of at least 3 ranks, or
//              `agent_loop/slowest/generate_sequences` against
//              `agent_loop/generate_sequences/mean`, above factor x the
//              median for 3 rows in a row; named if it is the same rank
// Rows that are too slow are kept out of the 32, at most 32 in a row: then it
// is the usual. Over after 3 rows that are not. O(1) state.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/detect/speed/options.h"
#include "server/detect/speed/watched_world.h"
#include "server/model/step_row.h"

namespace steadyrun {

class GenerationDetector {
 public:
  explicit GenerationDetector(const GenerationOptions& options)
      : options_(options) {}

  void Begin();
  // Rows in ascending order of steps.
  void Observe(const StepRow& row, const WatchedWorld& world, Now now,
               Verdicts* verdicts);

  // The newest step whose rollouts are found slow; kNoStep: none.
  Step LastSlow() const { return last_slow_; }

 private:
  // A condition that must hold for some rows and is over after some.
  struct Streak {
    int bad = 0;
    int good = 0;
    Step onset = kNoStep;
    bool is_told = false;
  };
  struct Slowest {
    double ratio = 0;  // To the median; 0: not known.
    Rank rank = kNoRank;
  };

  void ObserveStall(double seconds, std::string_view name, const StepRow& row,
                    const WatchedWorld& world, Now now, Verdicts* verdicts);
  Slowest FindSlowest(std::span<const float> times, const StepRow& row) const;
  void ObserveStraggler(const Slowest& slowest, const StepRow& row,
                        const WatchedWorld& world, Now now, Verdicts* verdicts);
  static bool Advance(Streak& streak, bool is_bad, Step step);
  void ClearIfOver(const WatchedWorld& world, Verdicts* verdicts);

  GenerationOptions options_;
  std::vector<double> usual_;  // A ring of kUsual.
  std::size_t next_ = 0;
  Streak stall_;
  Streak straggler_;
  Rank suspect_ = kNoRank;  // kNoRank: not the same one in every row.
  Step last_slow_ = kNoStep;
};

}  // namespace steadyrun
