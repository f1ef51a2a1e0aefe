#pragma once

// Finds ranks that compute slower than their peers, and says whether it is one
// rank, one node or one group. All ranks slower at once is no straggler but a
// slowdown (slowdown_detector.h): the peers' median moves along.
//
// Intuition: in synchronous training everybody waits for the slowest, so one
// rank that is 5 % slow costs the whole run 5 %; and step time, which is equal
// on all ranks, cannot tell who. Compute time without waiting can.
//
// Model, for rank r at step s, d = compute seconds:
//   y = (d / d_hat) / median over the role (d / d_hat) - 1
// d_hat: the time its work should take (work_model.h), 1 when no tokens are
// reported. Role: the pipeline stage. sigma: 1.4826 MAD of y over the role,
// smoothed over about 20 estimates. Two rules:
//   report  CUSUM (cusum_bank.h) with clip 0.10, slack report_excess, alarm
//           report_sum; if sigma > 2 %, at least 3, 1 and 20 sigma
//   act     w = median of 20 steps; above act_excess and above its role's
//           median by 5 MAD; so at t, t - 20 and t - 40, asked every 5 steps.
//           Another node is asked for only where that helps: steps would be
//           at least 1 % shorter, and at most 3 nodes have slow ranks. More of
//           them share a cause that a new node would share too, and replacing
//           them one by one restarts the run for ever
// A rank is calm again when its sum is back at 0. One whose w, a
// window after it was told, grows by another act_excess and 2 sigma counts as
// new: a second fault of a slow rank.
//
// Why these numbers. Healthy ranks differ for good by sigma = 0.5 %: at 10,000
// ranks the slowest is at +2 %, so a slack of 2.5 % leaves it a drift of
// -0.5 % a step against noise of 1 %: reaching 0.5 has odds of e^-50. A pause
// adds at most 0.10, and seven in a row are needed. Three disjoint windows make
// sure that what is acted on lasts; asking every 5 steps makes that 50 to 56
// steps after the onset, instead of 50 to 69.
//
// Without compute_seconds nothing is judged: IsJudging() is false. Fewer than
// 3 ranks of a role: that role is not judged, as of two nobody can tell who is
// slow. A step that fewer than half of a role's ranks report is skipped;
// elsewhere a missing value counts as "like the peers". About 120 bytes a rank.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/fast_median.h"
#include "server/detect/speed/cusum_bank.h"
#include "server/detect/speed/options.h"
#include "server/detect/speed/slow_groups.h"
#include "server/detect/speed/watched_world.h"
#include "server/detect/speed/window_medians.h"
#include "server/detect/speed/work_model.h"
#include "server/model/step_row.h"

namespace steadyrun {

class StragglerDetector {
 public:
  // Findings of one row at most; what is left out is counted in the last.
  static constexpr std::size_t kMaxFindings = 8;

  explicit StragglerDetector(const StragglerOptions& options)
      : options_(options) {}

  void Begin(const WatchedWorld& world);
  // Rows in ascending order of steps, warm-up left out.
  void Observe(const StepRow& row, const WatchedWorld& world, Now now,
               Verdicts* verdicts);

  // The last row could be judged.
  bool IsJudging() const { return is_judging_; }
  // Ranks that are found slow now.
  std::size_t Slow() const { return slow_; }
  // By how much the slow ranks make a step longer than it would be without
  // them: 0.10 is 10 %. 0 when nobody is slow.
  double CostNow() const { return slow_ > 0 ? cost_ : 0; }

  // Median compute seconds of each stage in the last row that was judged.
  std::span<const float> StageSeconds() const { return stage_seconds_; }

  std::size_t StateBytes() const;

 private:
  struct Role {
    WorkModel work;
    float sigma = 0;  // 0: not known yet.
    CusumLimits limits{};
  };

  bool Normalise(const StepRow& row, std::size_t stage,
                 const WatchedWorld& world, std::span<float> excess);
  CusumLimits LimitsFor(float sigma) const;
  void UpdateSigma(Role& role, std::span<const float> excess);
  // Those that are slower by far than when they were told.
  void ForgetWorse(const WatchedWorld& world);
  // Ranks whose windows ask for action and did not before.
  void JudgeWindows(const WatchedWorld& world, std::vector<std::size_t>* act);
  // The ranks not told of yet that are over the line or near it, with the
  // others of their nodes.
  std::vector<std::size_t> Companions(bool is_action,
                                      const WatchedWorld& world) const;
  void Report(const std::vector<std::size_t>& raised, bool is_action,
              const StepRow& row, const WatchedWorld& world, Now now,
              Verdicts* verdicts);
  bool IsWorthReplacing(const SlowGroup& group, const WatchedWorld& world,
                        Step step) const;
  void CountSlow(const WatchedWorld& world, Step step);
  Finding Describe(const SlowGroup& group, bool is_action, const StepRow& row,
                   const WatchedWorld& world, Now now) const;
  void Calm(const std::vector<std::size_t>& calmed, const WatchedWorld& world,
            Verdicts* verdicts);
  // Time of a step with these ranks over the time without them, less 1.
  double CostOf(const std::vector<std::size_t>& ranks,
                const WatchedWorld& world, Step step) const;
  float ExcessOf(std::size_t rank, Step step) const;

  StragglerOptions options_;
  std::vector<Role> roles_;  // By stage.
  std::vector<float> stage_seconds_;
  CusumBank sums_;
  WindowMedians windows_;
  std::vector<std::uint16_t> over_;     // Bit i: over, i evaluations ago.
  std::vector<std::uint8_t> told_;      // kNotTold, kReported, kActed.
  std::vector<std::uint8_t> told_for_;  // Evaluations since; up to kSettled.
  std::vector<float> told_excess_;      // w when that was reached.
  std::vector<float> present_;          // Of one role and step.
  MedianScratch scratch_;
  std::int64_t rows_ = 0;
  std::size_t slow_ = 0;
  double cost_ = 0;
  bool is_judging_ = false;
};

}  // namespace steadyrun
