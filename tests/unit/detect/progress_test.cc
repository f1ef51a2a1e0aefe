#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/robust_stats.h"
#include "server/detect/run_progress.h"
#include "server/detect/step_time_sketch.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr MonoTime kBegin{minutes(100)};

RunProgress Watching() {
  WatchedAttempt attempt;
  attempt.run = "run";
  attempt.attempt = AttemptId{1};
  attempt.rank_nodes = {"a", "a", "b"};
  RunProgress progress;
  progress.Begin(attempt, kBegin);
  return progress;
}

RankState Rank0(std::int64_t step, Duration age) {
  RankState state;
  state.rank = Rank{0};
  state.attempt = AttemptId{1};
  state.life = RankLife::kAlive;
  state.step = Step{step};
  state.phase = Phase::kStep;
  state.progress_age = age;
  return state;
}

TEST(RunProgressTest, AnAdvanceIsDatedByTheAgentsAge) {
  RunProgress progress = Watching();
  EXPECT_TRUE(progress.Observe(Rank0(1, seconds(0)), kBegin + seconds(10)));
  EXPECT_EQ(progress.LastAdvance(), kBegin + seconds(10));
  EXPECT_TRUE(
      progress.Observe(Rank0(2, milliseconds(300)), kBegin + seconds(11)));
  EXPECT_EQ(progress.LastAdvance(), kBegin + milliseconds(10700));
  EXPECT_FALSE(progress.Observe(Rank0(2, seconds(1)), kBegin + seconds(12)));
  EXPECT_EQ(progress.LastAdvance(), kBegin + milliseconds(10700));
}

TEST(RunProgressTest, AWildAgeCannotDateAnAdvanceBeforeTheLastWord) {
  RunProgress progress = Watching();
  progress.Observe(Rank0(1, seconds(0)), kBegin + seconds(10));
  progress.Observe(Rank0(2, minutes(5)), kBegin + seconds(11));
  EXPECT_EQ(progress.Ranks()[0].advanced, kBegin + seconds(10));
  progress.Observe(Rank0(3, seconds(-5)), kBegin + seconds(12));
  EXPECT_EQ(progress.Ranks()[0].advanced, kBegin + seconds(12));
}

// After the service's restart a rank may have stood still for long.
TEST(RunProgressTest, TheFirstWordMayReachBackBeforeTheBegin) {
  RunProgress progress = Watching();
  progress.Observe(Rank0(7, minutes(3)), kBegin + seconds(1));
  EXPECT_EQ(progress.Ranks()[0].advanced, kBegin + seconds(1) - minutes(3));
  // The other ranks are not heard yet and count from the begin.
  EXPECT_EQ(progress.LastAdvance(), kBegin);
}

TEST(RunProgressTest, IgnoresOtherAttemptsAndRanksOutsideTheWorld) {
  RunProgress progress = Watching();
  RankState old = Rank0(5, seconds(0));
  old.attempt = AttemptId{9};
  EXPECT_FALSE(progress.Observe(old, kBegin));
  for (const std::int32_t rank : {-1, 3, 1 << 30}) {
    RankState outside = Rank0(5, seconds(0));
    outside.rank = Rank{rank};
    EXPECT_FALSE(progress.Observe(outside, kBegin));
  }
  EXPECT_EQ(progress.MaxStep(), kNoStep);
}

TEST(RunProgressTest, AStoppedStateMustLast) {
  RunProgress progress = Watching();
  RankState state = Rank0(1, seconds(0));
  state.process_state = 'T';
  progress.Observe(state, kBegin + seconds(1));
  progress.Observe(state, kBegin + seconds(4));
  EXPECT_EQ(progress.Ranks()[0].stopped_since, kBegin + seconds(1));
  state.process_state = 'S';
  progress.Observe(state, kBegin + seconds(5));
  EXPECT_FALSE(progress.Ranks()[0].stopped_since.has_value());
}

TEST(RunProgressTest, CpuShareCountsFromTheLastAdvance) {
  RunProgress progress = Watching();
  RankState state = Rank0(1, seconds(0));
  state.cpu_seconds = 100;
  progress.Observe(state, kBegin);
  EXPECT_LT(progress.Ranks()[0].CpuShare(), 0);
  state.cpu_seconds = 103;
  progress.Observe(state, kBegin + seconds(4));
  EXPECT_DOUBLE_EQ(progress.Ranks()[0].CpuShare(), 0.75);
  state.step = Step{2};
  progress.Observe(state, kBegin + seconds(5));
  EXPECT_LT(progress.Ranks()[0].CpuShare(), 0);
}

TEST(RunProgressTest, ExitedRanksDoNotHoldTheLowestStep) {
  RunProgress progress = Watching();
  progress.Observe(Rank0(4, seconds(0)), kBegin);
  RankState other = Rank0(9, seconds(0));
  other.rank = Rank{2};
  progress.Observe(other, kBegin);
  EXPECT_EQ(progress.MinStep(), Step{4});
  EXPECT_EQ(progress.MaxStep(), Step{9});
  RankState gone = Rank0(4, seconds(0));
  gone.life = RankLife::kExited;
  EXPECT_FALSE(progress.Observe(gone, kBegin + seconds(1)));
  EXPECT_EQ(progress.MinStep(), Step{9});
  EXPECT_EQ(progress.LastAdvanceOutside({"b"}), kBegin);
  EXPECT_EQ(progress.LastAdvanceOutside({"a", "b"}), std::nullopt);
}

// Goal: the sketch may err only upwards, by at most its bin. Method: compare
// with exact quantiles over a rolling window of random step times.
TEST(StepTimeSketchTest, FollowsExactQuantilesWithinItsBin) {
  StepTimeSketch sketch;
  std::vector<double> all;
  std::uint64_t random = 3;
  for (int i = 0; i < 3000; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const double uniform = static_cast<double>(random >> 11) * 0x1.0p-53;
    const double length = 0.002 * std::pow(10, 5 * uniform);
    sketch.Add(length);
    all.push_back(length);
    if (i % 37 != 0) continue;
    const std::size_t size = std::min(all.size(), StepTimeSketch::kWindow);
    std::vector<double> window(all.end() - static_cast<long>(size), all.end());
    std::ranges::sort(window);
    for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto index = static_cast<std::size_t>(
          std::max(0.0, std::ceil(q * static_cast<double>(size)) - 1));
      const double exact = window[index];
      ASSERT_GE(sketch.Quantile(q), exact * 0.999999) << i << " " << q;
      ASSERT_LE(sketch.Quantile(q), exact * 1.1201) << i << " " << q;
    }
  }
  EXPECT_EQ(sketch.Size(), StepTimeSketch::kWindow);
}

TEST(StepTimeSketchTest, IgnoresWhatIsNoDuration) {
  StepTimeSketch sketch;
  for (const double bad : {0.0, -1.0, std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    sketch.Add(bad);
  }
  EXPECT_EQ(sketch.Size(), 0u);
  EXPECT_EQ(sketch.Quantile(0.5), 0);
  sketch.Add(1e300);
  sketch.Add(1e-300);
  EXPECT_EQ(sketch.Size(), 2u);
  EXPECT_GT(sketch.Quantile(1), 30000);
  EXPECT_EQ(sketch.Quantile(0), 1e-3);
}

}  // namespace
}  // namespace steadyrun
