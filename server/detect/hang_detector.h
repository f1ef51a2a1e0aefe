#pragma once

// Finds that an attempt makes no progress, and which rank did not arrive.
//
// Intuition: synchronous training advances on all ranks or on none, so one
// rank's pause is no evidence; silence of *all* ranks is. How long is normal
// depends on what they are doing, which the trainer tells as a phase.
//
// Model. quiet = now - newest advance (step or phase change) of any rank.
// Each living rank has a deadline by its phase:
//   declared long phases    a fixed one (HangOptions::phase); all of the
//                           attempt's first step counts as startup
//   phases of an RL step    each its own, learned: see phase_deadlines.h
//   everything else         clamp(minimum, max(factor x q99, 2 x longest) of
//                           the last 500 step times, maximum); the first 5
//                           steps of an attempt are not counted and, like a
//                           sketch of fewer than 20, raise it to at least
//                           warm_up and factor x the longest step seen
//   while every rank uses CPU (> 10 % of a core each)   x busy_factor, up to
//                           busy_maximum
// The run's deadline is the longest of its ranks'. A rank in process state T
// while quiet is a second witness: then `stopped` is enough, in any phase.
// No rank ever completed a step: the finding is start_failed, not hang.
//
// A verdict needs fresh heartbeats (kFresh) of every node with ranks: of what
// nobody hears, the silence detector judges.
//
// Why no false alarm: the step times of ranks are not independent, they wait
// for each other, so the chance is per step, not per rank: a step would have
// to take 5 times what 99 of 100 take, twice the longest, and 10 s. The long
// phases are where false hangs come from in practice; they are in the table,
// and steps that held one are left out of the sketch.
//
// Why not 5 x q99.9: over 500 steps that is the one longest. A single pause of
// 4 s among steps of 0.1 s would make the deadline 20 s for the next 500
// steps. Twice the longest still learns an undeclared save of 8 s every few
// hundred steps.
//
// Culprit, first rule that singles out the smaller part of the ranks:
//   process state T       what the kernel says needs no reasoning
//   collectives           one rank, or fewer than half, that never came to a
//                         collective the others are in and itself waits for
//                         nobody: the numbers say who waits for whom, all
//                         rules below only that somebody is different. Ranks
//                         that wait in a circle end the search: the code calls
//                         collectives in different orders, no rank is at fault
//   lowest step; another phase than the majority, at the same step; the one
//   that computes while the rest wait, or waits while the rest spin; lowest
//   phase count
//   stacks                fewer than half stand elsewhere than the majority.
//                         Below the others since waiters may come to a
//                         collective by several ways
//   silence               it tells neither of the two while 3 of 4 others do:
//                         its main thread may be stuck in C code that keeps
//                         the interpreter's lock. Last, for other things
//                         (another version, no room) make a rank silent too
// Else unknown, and the finding says so: when all ranks have entered the same
// collectives, that the network or a device inside one is left.
//
// Ranks tell of their standstills at different times (see standstills.h). They
// compare because a verdict comes only after seconds in which nobody advanced.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/detect/options.h"
#include "server/detect/phase_deadlines.h"
#include "server/detect/run_progress.h"
#include "server/detect/step_time_sketch.h"
#include "server/detect/watched_attempt.h"

namespace steadyrun {

class HangDetector {
 public:
  // Steps at the beginning of an attempt that say nothing of the later ones
  // (the value of NVRx: caches, compilation, first collectives).
  static constexpr std::int64_t kWarmUpSteps = 5;
  // Below this many step times the q99.9 is a guess.
  static constexpr std::size_t kEnoughSteps = 20;
  // A heartbeat older than this is no evidence of standing still.
  static constexpr Duration kFresh = std::chrono::milliseconds(2500);

  explicit HangDetector(const HangOptions& options) : options_(options) {}

  // A new attempt. Step times of earlier attempts are kept: it is the same
  // job on the same kind of machine.
  void Begin(const WatchedAttempt& attempt, MonoTime now);
  // One completed step of the current attempt and its longest duration over
  // the ranks; not finite or not positive: the trainer does not say, and the
  // time since the step before is taken.
  void ObserveStep(Step step, double seconds, MonoTime now);
  // A heartbeat's word on a rank of the attempt: the step it is in will be no
  // measure of a plain one if its phase is a declared long one.
  void ObserveRank(const RankState& rank, MonoTime now);
  // Nothing is judged before `until`: the service itself was late or away.
  void Settle(MonoTime until) { settled_ = until; }

  // At most one finding an attempt, until Cleared() or JudgeAfresh().
  std::optional<Finding> Evaluate(const RunProgress& progress, Now now);
  // What was found is found again, if it still is so.
  void JudgeAfresh() { fired_at_advance_.reset(); }
  // The attempt advanced again after a finding; said once.
  std::optional<Clearance> Cleared(const RunProgress& progress);

  // The longest quiet that is still normal now. For people and for tests.
  Duration DeadlineNow(const RunProgress& progress) const;
  // Median of recent step times in seconds; before there are any, the longest
  // step of the attempt so far; 0 when there was none.
  double MedianStepSeconds() const {
    return sketch_.Size() > 0 ? sketch_.Quantile(0.5) : longest_seconds_;
  }
  // The longest of the last few steps in seconds: follows a run that becomes
  // slower at once, which the median does not.
  double LongestOfLastSteps() const {
    return *std::max_element(last_seconds_.begin(), last_seconds_.end());
  }

 private:
  bool IsWarm() const;
  Duration LearnedOfSteps() const;
  Duration StepDeadline() const;
  Duration PhaseDeadline(Phase phase, Duration step_deadline) const;
  Finding Describe(const RunProgress& progress, Duration quiet,
                   Duration deadline, bool is_stopped, Now now) const;

  HangOptions options_;
  WatchedAttempt attempt_;
  StepTimeSketch sketch_;
  PhaseDeadlines phases_;
  std::int64_t steps_seen_ = 0;  // Of this attempt.
  double longest_seconds_ = 0;   // Of this attempt, warm-up included.
  // Of the last usual steps, a ring. Also of warm-up, but for the first step.
  std::array<double, 8> last_seconds_{};
  Step unusual_ = kNoStep;  // Newest step that holds a long phase.
  Step last_step_ = kNoStep;
  MonoTime last_step_at_;  // Begin before the first step.
  MonoTime settled_ = MonoTime::min();
  std::optional<MonoTime> fired_at_advance_;
};

// Who did not arrive, told from where each rank stands.
struct Laggard {
  Culprit culprit;  // Empty: unknown.
  std::string why;  // "it is at step 41, the other 3 ranks at step 42".
  std::vector<std::string> evidence;
};
Laggard FindLaggard(const RunProgress& progress, MonoTime now);

}  // namespace steadyrun
