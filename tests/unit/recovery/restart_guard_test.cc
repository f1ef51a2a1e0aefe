#include "server/recovery/restart_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;

class RestartGuardTest : public testing::Test {
 protected:
  // The current attempt fails; if allowed, the next one begins.
  GuardVerdict Fail(const Failure& failure, Duration at = {}) {
    const Now now = TestNow(at);
    const GuardVerdict verdict =
        JudgeRestart(state_, failure, policy_, now.mono);
    if (verdict.allowance.verdict == AllowanceVerdict::kGo) {
      RecordRestart(&state_, failure, verdict, now);
      state_.attempt = state_.attempt.Next();
      state_.max_step_at_start = state_.max_step;
    }
    return verdict;
  }
  static Failure Crash(std::int64_t step, std::string signature = "E") {
    return {IncidentKind::kCrash, std::move(signature), Step{step}};
  }
  static bool Halts(const GuardVerdict& verdict) {
    return verdict.allowance.verdict == AllowanceVerdict::kHalt;
  }

  RunState state_ = TestState(RunPhase::kRunning);
  Policy policy_ = DefaultPolicy();
};

TEST_F(RestartGuardTest, TheSameFailureThreeTimesHalts) {
  for (int i = 0; i < 2; ++i) {
    state_.max_step = Step{100 + i};  // Progress each time.
    EXPECT_FALSE(Halts(Fail(Crash(100 + i)))) << i;
  }
  state_.max_step = Step{103};

  const GuardVerdict verdict = Fail(Crash(102));

  EXPECT_TRUE(Halts(verdict));
  EXPECT_THAT(verdict.allowance.reason, HasSubstr("repeats at the same step"));
}

TEST_F(RestartGuardTest, OtherSignaturesStepsAndKindsAreOtherFailures) {
  state_.max_step = Step{10};
  EXPECT_FALSE(Halts(Fail(Crash(100, "E"))));
  state_.max_step = Step{200};
  EXPECT_FALSE(Halts(Fail(Crash(100, "F"))));
  state_.max_step = Step{300};
  EXPECT_FALSE(Halts(Fail(Crash(150, "E"))));
  state_.max_step = Step{400};
  EXPECT_FALSE(Halts(Fail({IncidentKind::kHang, "E", Step{100}})));
}

TEST_F(RestartGuardTest, ThreeRestartsWithoutProgressHaltOnTheFourthFailure) {
  state_.max_step = Step{50};
  EXPECT_FALSE(Halts(Fail(Crash(50, "1"))));
  EXPECT_FALSE(Halts(Fail(Crash(20, "2"))));
  EXPECT_FALSE(Halts(Fail(Crash(30, "3"))));

  const GuardVerdict verdict = Fail(Crash(40, "4"));

  EXPECT_TRUE(Halts(verdict));
  EXPECT_THAT(verdict.allowance.reason, HasSubstr("no new step"));
}

TEST_F(RestartGuardTest, ProgressStartsTheCountAnew) {
  state_.max_step = Step{50};
  Fail(Crash(50, "1"));
  Fail(Crash(20, "2"));
  Fail(Crash(30, "3"));
  state_.max_step = Step{51};

  EXPECT_FALSE(Halts(Fail(Crash(51, "4"))));
  EXPECT_EQ(state_.restarts_without_progress, 0);
}

TEST_F(RestartGuardTest, BackoffGrowsWithoutProgress) {
  state_.max_step = Step{50};
  const MonoTime now = TestNow().mono;
  EXPECT_EQ(Fail(Crash(50, "1")).allowance.not_before, now);
  EXPECT_EQ(Fail(Crash(20, "2")).allowance.not_before, now + seconds(2));
  EXPECT_EQ(Fail(Crash(30, "3")).allowance.not_before, now + seconds(10));
}

TEST_F(RestartGuardTest, TheFirstAttemptsFailureIsNoRestartWithoutProgress) {
  EXPECT_EQ(Fail(Crash(-1, "1")).without_progress, 0);
  EXPECT_EQ(Fail(Crash(-1, "2")).without_progress, 1);
}

TEST_F(RestartGuardTest, TheBudgetOfTheHourHolds) {
  policy_.restart.restarts_per_hour = 2;
  state_.max_step = Step{10};
  EXPECT_FALSE(Halts(Fail(Crash(10, "1"))));
  state_.max_step = Step{100};
  EXPECT_FALSE(Halts(Fail(Crash(100, "2"))));
  state_.max_step = Step{200};
  EXPECT_TRUE(Halts(Fail(Crash(200, "3"))));
  EXPECT_FALSE(Halts(Fail(Crash(200, "3"), minutes(61))));
}

TEST_F(RestartGuardTest, AnOperatorsOrderForgivesButDoesNotFillTheBudget) {
  policy_.restart.restarts_per_hour = 3;
  state_.max_step = Step{10};
  Fail(Crash(10));
  Fail(Crash(10));
  ASSERT_TRUE(Halts(Fail(Crash(10))));

  ForgiveFailures(&state_);
  state_.attempt = state_.attempt.Next();

  EXPECT_FALSE(Halts(Fail(Crash(10))));
  const GuardVerdict verdict = Fail(Crash(10));
  EXPECT_TRUE(Halts(verdict));
  EXPECT_THAT(verdict.allowance.reason, HasSubstr("an hour"));
}

TEST_F(RestartGuardTest, WhatHappenedAtOrAfterTheStepHasHappenedBefore) {
  EXPECT_FALSE(HasHappenedBefore(state_, Crash(100), policy_));
  Fail(Crash(100));

  EXPECT_TRUE(HasHappenedBefore(state_, Crash(100), policy_));
  EXPECT_TRUE(HasHappenedBefore(state_, Crash(90), policy_));
  EXPECT_FALSE(HasHappenedBefore(state_, Crash(110), policy_));
}

TEST_F(RestartGuardTest, RecordsAreBounded) {
  const GuardVerdict verdict;
  for (std::size_t i = 0; i < kMaxRestarts + 10; ++i) {
    RecordRestart(&state_, Crash(static_cast<std::int64_t>(i)), verdict,
                  TestNow());
  }

  EXPECT_EQ(state_.restarts.size(), kMaxRestarts);
  EXPECT_EQ(state_.restarts.front().step, Step{10});
}

}  // namespace
}  // namespace steadyrun
