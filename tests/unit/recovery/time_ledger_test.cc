#include "server/recovery/time_ledger.h"

#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

WallTime At(double second) {
  return TestNow().wall +
         milliseconds(static_cast<std::int64_t>(second * 1000));
}

double Of(const RunState& state, TimeCause cause) {
  auto it = state.time_seconds.find(std::string(TimeCauseName(cause)));
  return it == state.time_seconds.end() ? 0 : it->second;
}

TEST(TimeLedgerTest, AllTimeIsAccountedOnce) {
  RunState state = TestState(RunPhase::kStarting);
  Account(&state, TimeCause::kStartup, At(3));
  AccountStep(&state, Step{0}, At(4));
  state.max_step = Step{0};
  AccountFault(&state, At(4.5), At(6));
  Account(&state, TimeCause::kStopping, At(6.25));

  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kStartup), 3);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kProductive), 1);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kRework), 0.5);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kDetection), 1.5);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kStopping), 0.25);
  EXPECT_DOUBLE_EQ(AccountedSeconds(state), 6.25);
}

TEST(TimeLedgerTest, AStepIsProductiveOnceAndReworkAfter) {
  RunState state = TestState(RunPhase::kRunning);
  state.max_step = Step{10};

  AccountStep(&state, Step{9}, At(1));
  AccountStep(&state, Step{10}, At(3));
  AccountStep(&state, Step{11}, At(7));

  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kRework), 3);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kProductive), 4);
}

TEST(TimeLedgerTest, AClockSetBackIsNoTime) {
  RunState state = TestState(RunPhase::kRunning);
  AccountStep(&state, Step{0}, At(5));
  AccountStep(&state, Step{1}, At(2));
  AccountStep(&state, Step{2}, At(6));

  EXPECT_DOUBLE_EQ(AccountedSeconds(state), 6);
  EXPECT_EQ(state.accounted, At(6));
}

TEST(TimeLedgerTest, AnOnsetOutsideTheStretchIsCutToIt) {
  RunState state = TestState(RunPhase::kRunning);
  Account(&state, TimeCause::kProductive, At(10));
  AccountFault(&state, At(4), At(12));
  AccountFault(&state, At(99), At(13));

  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kDetection), 2);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kRework), 1);
  EXPECT_DOUBLE_EQ(AccountedSeconds(state), 13);
}

TEST(TimeLedgerTest, SavingIsTakenFromTheStepsItBlocked) {
  RunState state = TestState(RunPhase::kRunning);
  state.max_step = state.max_step_at_start = Step{10};
  AccountStep(&state, Step{10}, At(4));
  AccountStep(&state, Step{11}, At(10));

  ChargeCheckpoint(&state, Step{11}, 2);
  ChargeCheckpoint(&state, Step{10}, 100);  // More than there was.

  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kProductive), 4);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kRework), 0);
  EXPECT_DOUBLE_EQ(Of(state, TimeCause::kCheckpoint), 6);
  EXPECT_DOUBLE_EQ(AccountedSeconds(state), 10);
}

TEST(TimeLedgerTest, TheFirstStartIsStartupTheOthersAreRestarts) {
  RunState state = TestState(RunPhase::kStarting);
  EXPECT_EQ(CauseOfPhase(state), TimeCause::kStartup);
  state.attempts = 2;
  EXPECT_EQ(CauseOfPhase(state), TimeCause::kRestarting);
  state.phase = RunPhase::kHalted;
  EXPECT_EQ(CauseOfPhase(state), TimeCause::kHalted);
}

}  // namespace
}  // namespace steadyrun
