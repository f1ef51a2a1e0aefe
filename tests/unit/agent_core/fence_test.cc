#include "agent/core/fence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using std::chrono::seconds;

DurableState With(AttemptId floor, AttemptId started) {
  DurableState state;
  DurableRun& run = RunOf(state, "run");
  run.floor = floor;
  run.started = started;
  return state;
}

TEST(FenceTest, JudgesEpochs) {
  DurableState state;
  state.max_server_epoch = 5;
  state.server_id = "a";

  EXPECT_EQ(JudgeEpoch(state, 4, "a"), EpochVerdict::kStale);
  EXPECT_EQ(JudgeEpoch(state, 5, "a"), EpochVerdict::kObey);
  EXPECT_EQ(JudgeEpoch(state, 5, "b"), EpochVerdict::kForeign);
  EXPECT_EQ(JudgeEpoch(state, 6, "b"), EpochVerdict::kRaise);
}

TEST(FenceTest, JudgesStarts) {
  struct Case {
    std::int64_t floor, started, attempt;
    StartVerdict verdict;
  };
  for (const Case& c : std::vector<Case>{
           {3, 2, 3, StartVerdict::kStart},
           {3, 0, 3, StartVerdict::kStart},
           {3, 3, 3, StartVerdict::kStartedAlready},
           {3, 2, 2, StartVerdict::kBelowFloor},
           {3, 2, 4, StartVerdict::kAboveFloor},
           {0, 0, 1, StartVerdict::kAboveFloor},
       }) {
    SCOPED_TRACE(fmt::format("floor {} started {} attempt {}", c.floor,
                             c.started, c.attempt));
    EXPECT_EQ(JudgeStart(With(AttemptId{c.floor}, AttemptId{c.started}), "run",
                         AttemptId{c.attempt}),
              c.verdict);
  }
  EXPECT_EQ(JudgeStart({}, "unknown", AttemptId{1}), StartVerdict::kAboveFloor);
}

TEST(FenceTest, AnExitIsOrderedOnlyIfTheOrderCouldCauseIt) {
  EXPECT_TRUE(IsOrderedExit({.signal = 9}, seconds(0)));
  EXPECT_FALSE(IsOrderedExit({.code = 1}, seconds(0)));
  EXPECT_FALSE(IsOrderedExit({.signal = 11}, seconds(0)));
  EXPECT_TRUE(IsOrderedExit({.signal = 15}, seconds(5)));
  EXPECT_TRUE(IsOrderedExit({.code = 143}, seconds(5)));
  EXPECT_FALSE(IsOrderedExit({.signal = 11}, seconds(5)));
}

TEST(FenceTest, RunsStaySortedByName) {
  DurableState state;
  for (const char* name : {"b", "c", "a", "b"}) RunOf(state, name);

  ASSERT_EQ(state.runs.size(), 3u);
  EXPECT_EQ(state.runs[0].run, "a");
  EXPECT_EQ(state.runs[2].run, "c");
  EXPECT_EQ(FindRun(state, "d"), nullptr);
}

TEST(FenceTest, ForgottenRunsKeepTheirFenceAndAreBounded) {
  DurableState state = With(AttemptId{4}, AttemptId{4});
  ForgetRun(state, "run", 9);

  EXPECT_EQ(CountRemembered(state), 0u);
  EXPECT_EQ(JudgeStart(state, "run", AttemptId{4}),
            StartVerdict::kStartedAlready);

  for (std::size_t i = 0; i < kMaxForgottenRuns; ++i) {
    ForgetRun(state, fmt::format("later-{}", i), 10 + i);
  }
  EXPECT_EQ(state.runs.size(), kMaxForgottenRuns);
  EXPECT_EQ(FindRun(state, "run"), nullptr);  // The oldest one went.
}

}  // namespace
}  // namespace steadyrun::agent
