#include "server/policy/allowance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr MonoTime kNow{hours(1000)};

RestartRecord Restart(Duration ago, Step step, std::string signature = "E",
                      IncidentKind kind = IncidentKind::kCrash) {
  RestartRecord record;
  record.at_mono = kNow - ago;
  record.kind = kind;
  record.signature = std::move(signature);
  record.step = step;
  return record;
}

Failure CrashAt(std::int64_t step, std::string signature = "E") {
  return {IncidentKind::kCrash, std::move(signature), Step{step}};
}

TEST(AllowanceTest, TheFirstFailureRestartsAtOnce) {
  const Allowance allowance =
      AllowRestart(DefaultPolicy(), {}, 0, CrashAt(100), kNow);

  EXPECT_EQ(allowance.verdict, AllowanceVerdict::kGo);
  EXPECT_EQ(allowance.remedy, Remedy::kRestart);
  EXPECT_EQ(allowance.not_before, kNow);
  EXPECT_EQ(allowance.reason, "restart for crash; 1 of 30 restarts this hour");
}

TEST(AllowanceTest, TheSameFailureAtTheSameStepHaltsTheThirdTime) {
  struct Case {
    const char* what;
    std::vector<RestartRecord> before;
    bool halts;
  };
  const Case cases[] = {
      {"twice the same",
       {Restart(minutes(2), Step{100}), Restart(minutes(1), Step{100})},
       true},
      {"two steps away still counts",
       {Restart(minutes(2), Step{98}), Restart(minutes(1), Step{102})},
       true},
      {"three steps away does not",
       {Restart(minutes(2), Step{97}), Restart(minutes(1), Step{100})},
       false},
      {"another signature does not",
       {Restart(minutes(2), Step{100}, "F"), Restart(minutes(1), Step{100})},
       false},
      {"another kind does not",
       {Restart(minutes(2), Step{100}, "E", IncidentKind::kHang),
        Restart(minutes(1), Step{100})},
       false},
      {"once before", {Restart(minutes(1), Step{100})}, false},
      {"with others between",
       {Restart(minutes(3), Step{100}), Restart(minutes(2), Step{500}),
        Restart(minutes(1), Step{100})},
       true},
  };
  for (const Case& test : cases) {
    const Allowance allowance =
        AllowRestart(DefaultPolicy(), test.before, 0, CrashAt(100), kNow);

    EXPECT_EQ(allowance.verdict == AllowanceVerdict::kHalt, test.halts)
        << test.what;
    if (test.halts) {
      EXPECT_EQ(allowance.remedy, Remedy::kHalt);
      EXPECT_THAT(allowance.reason, HasSubstr("repeats at the same step"));
    }
  }
}

TEST(AllowanceTest, ThreeRestartsWithoutProgressHaltOnTheFourthFailure) {
  const Policy policy = DefaultPolicy();
  std::vector<RestartRecord> restarts;
  for (std::int32_t failures = 0; failures < 4; ++failures) {
    const Allowance allowance = AllowRestart(
        policy, restarts, failures, CrashAt(100 + 10 * failures), kNow);

    EXPECT_EQ(allowance.verdict == AllowanceVerdict::kHalt, failures == 3);
    restarts.push_back(Restart(seconds(1), Step{100 + 10 * failures}));
  }
}

TEST(AllowanceTest, BackoffGrowsWithoutProgressAndResetsWithIt) {
  Policy policy = DefaultPolicy();
  policy.restart.no_progress_limit = 100;
  const Duration expected[] = {seconds(0),  seconds(2),  seconds(10),
                               seconds(30), seconds(30), seconds(30)};
  for (std::int32_t failures = 0; failures < 6; ++failures) {
    EXPECT_EQ(AllowRestart(policy, {}, failures, CrashAt(100), kNow).not_before,
              kNow + expected[failures]);
  }
  EXPECT_EQ(AllowRestart(policy, {}, 0, CrashAt(100), kNow).not_before, kNow);
}

TEST(AllowanceTest, TheLadderIsClimbedByFailuresWithoutProgress) {
  Policy policy = DefaultPolicy();
  policy.restart.no_progress_limit = 100;
  policy.For(IncidentKind::kCrash).ladder = {
      Remedy::kRestart, Remedy::kReplaceNode, Remedy::kHalt};

  EXPECT_EQ(AllowRestart(policy, {}, 0, CrashAt(1), kNow).remedy,
            Remedy::kRestart);
  EXPECT_EQ(AllowRestart(policy, {}, 1, CrashAt(1), kNow).remedy,
            Remedy::kReplaceNode);
  for (const std::int32_t failures : {2, 3, 99}) {
    const Allowance end = AllowRestart(policy, {}, failures, CrashAt(1), kNow);
    EXPECT_EQ(end.verdict, AllowanceVerdict::kHalt);
    EXPECT_EQ(end.remedy, Remedy::kHalt);
  }
}

TEST(AllowanceTest, BudgetsCountOnlyTheirWindow) {
  Policy policy = DefaultPolicy();
  policy.restart.restarts_per_hour = 2;
  policy.restart.restarts_per_day = 3;
  const auto at = [](std::int64_t step) { return Step{step}; };

  // One of the two is older than an hour.
  EXPECT_EQ(
      AllowRestart(policy,
                   {Restart(minutes(61), at(1)), Restart(minutes(59), at(50))},
                   0, CrashAt(100), kNow)
          .verdict,
      AllowanceVerdict::kGo);
  EXPECT_THAT(
      AllowRestart(policy,
                   {Restart(minutes(50), at(1)), Restart(minutes(59), at(50))},
                   0, CrashAt(100), kNow)
          .reason,
      HasSubstr("2 automatic restarts an hour"));
  EXPECT_THAT(AllowRestart(policy,
                           {Restart(hours(20), at(1)), Restart(hours(5), at(9)),
                            Restart(minutes(59), at(50))},
                           0, CrashAt(100), kNow)
                  .reason,
              HasSubstr("3 automatic restarts a day"));
  EXPECT_EQ(
      RestartsLeft(policy,
                   {Restart(hours(20), at(1)), Restart(minutes(59), at(50))},
                   kNow),
      1);
}

TEST(AllowanceTest, CooldownHoldsTheNextActionOfItsKind) {
  Policy policy = DefaultPolicy();
  policy.For(IncidentKind::kCrash).cooldown = minutes(5);

  const Allowance held = AllowRestart(policy, {Restart(minutes(1), Step{1})}, 0,
                                      CrashAt(100), kNow);
  EXPECT_EQ(held.not_before, kNow + minutes(4));
  EXPECT_THAT(held.reason, HasSubstr("after the cooldown of 5m of crash"));
  // Another kind's restart does not count.
  EXPECT_EQ(
      AllowRestart(policy,
                   {Restart(minutes(1), Step{1}, "E", IncidentKind::kHang)}, 0,
                   CrashAt(100), kNow)
          .not_before,
      kNow);
}

TEST(QuarantineTest, TwoBlamesWithinADayAreEnough) {
  const QuarantinePolicy policy;
  const WallTime now{hours(500000)};

  EXPECT_FALSE(IsToBeQuarantined(policy, {}, now));
  EXPECT_FALSE(IsToBeQuarantined(policy, {now}, now));
  EXPECT_TRUE(IsToBeQuarantined(policy, {now - hours(23), now}, now));
  EXPECT_FALSE(IsToBeQuarantined(policy, {now - hours(25), now}, now));
  QuarantinePolicy off;
  off.blamed_limit = 0;
  EXPECT_FALSE(IsToBeQuarantined(off, {now, now, now}, now));
}

}  // namespace
}  // namespace steadyrun
