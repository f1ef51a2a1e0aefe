#include "replay/policy_comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace steadyrun::replay {
namespace {

using testing::HasSubstr;

StepRow LossRow(std::int64_t attempt, std::int64_t step, float loss) {
  StepRow row;
  row.attempt = AttemptId{attempt};
  row.step = Step{step};
  row.world_size = 1;
  row.metrics = {static_cast<std::uint32_t>(Metric::kLoss)};
  row.values = {loss};
  row.loss = loss;
  return row;
}

Incident CrashAt(std::int64_t number, std::int64_t attempt, std::int64_t step) {
  Incident incident;
  incident.number = number;
  incident.run = "r";
  incident.kind = IncidentKind::kCrash;
  incident.attempt = AttemptId{attempt};
  incident.step = Step{step};
  incident.detected = FromUnixMillis(1'700'000'000'000 + number * 60'000);
  incident.steps_lost = 7;
  incident.remediation = "restart";
  return incident;
}

Checkpoint Saved(std::int64_t attempt, std::int64_t step,
                 CheckpointState state = CheckpointState::kVerified) {
  Checkpoint checkpoint;
  checkpoint.attempt = AttemptId{attempt};
  checkpoint.step = Step{step};
  checkpoint.state = state;
  return checkpoint;
}

// An attempt whose loss is NaN from step 50 on.
PolicyComparison Compare(const Policy& before, const Policy& after,
                         PastRun past) {
  PolicyComparer comparer(before, after, std::move(past));
  WatchedAttempt attempt;
  attempt.run = "r";
  attempt.attempt = AttemptId{1};
  attempt.rank_nodes = {"a"};
  comparer.Begin(attempt);
  for (int step = 1; step <= 60; ++step) {
    comparer.Take(LossRow(1, step, step < 50 ? 2.5F : NAN));
  }
  return comparer.Finish();
}

const KindComparison* Find(const PolicyComparison& comparison,
                           IncidentKind kind) {
  for (const KindComparison& it : comparison.kinds) {
    if (it.kind == kind) return &it;
  }
  return nullptr;
}

TEST(PolicyComparisonTest, AChangedModeShowsWhatIsNoLongerDone) {
  Policy after = DefaultPolicy();
  after.For(IncidentKind::kNan).mode = Mode::kAdvise;
  PastRun past;
  past.checkpoints = {Saved(1, 20),
                      Saved(1, 40),
                      Saved(1, 55),
                      Saved(2, 45),
                      Saved(1, 48, CheckpointState::kDistrusted),
                      Saved(1, 49, CheckpointState::kWritten)};
  const PolicyComparison comparison =
      Compare(DefaultPolicy(), after, std::move(past));
  EXPECT_EQ(comparison.rows, 60);
  EXPECT_EQ(comparison.first, Step{1});
  EXPECT_EQ(comparison.last, Step{60});
  const KindComparison* nan = Find(comparison, IncidentKind::kNan);
  ASSERT_NE(nan, nullptr);
  EXPECT_TRUE(nan->is_from_rows);
  EXPECT_EQ(nan->before.fired, 1);
  EXPECT_EQ(nan->before.acted, 1);
  EXPECT_EQ(nan->before.answer, "rollback");
  // From 40, the newest that was complete before the bad step.
  EXPECT_EQ(nan->before.steps_lost, 10);
  EXPECT_EQ(nan->after.fired, 1);
  EXPECT_EQ(nan->after.acted, 0);
  EXPECT_EQ(nan->after.steps_lost, 0);
  EXPECT_EQ(nan->after.answer, "advise rollback");
}

TEST(PolicyComparisonTest, RecordedIncidentsPassBothPolicies) {
  Policy after = DefaultPolicy();
  after.restart.restarts_per_hour = 2;
  PastRun past;
  // Newest first, as the store hands them out; each made progress.
  for (std::int64_t number = 4; number >= 1; --number) {
    past.incidents.push_back(CrashAt(number, number, number * 100));
  }
  const PolicyComparison comparison =
      Compare(DefaultPolicy(), after, std::move(past));
  const KindComparison* crash = Find(comparison, IncidentKind::kCrash);
  ASSERT_NE(crash, nullptr);
  EXPECT_FALSE(crash->is_from_rows);
  EXPECT_EQ(crash->recorded, 4);
  EXPECT_EQ(crash->recorded_acted, 4);
  EXPECT_EQ(crash->recorded_steps_lost, 28);
  EXPECT_EQ(crash->before.acted, 4);
  EXPECT_EQ(crash->before.steps_lost, 28);
  EXPECT_TRUE(comparison.before_halt.empty());
  // Two restarts, and the halt that answers the third.
  EXPECT_EQ(crash->after.fired, 3);
  EXPECT_EQ(crash->after.acted, 3);
  EXPECT_THAT(comparison.after_halt, HasSubstr("at r:3 of step 300"));
  EXPECT_THAT(comparison.after_halt, HasSubstr("an hour is used up"));
}

TEST(PolicyComparisonTest, ACrashThatNobodyAnswersIsLeftToAPerson) {
  PastRun past;
  past.incidents = {CrashAt(1, 1, 10)};
  const PolicyComparison comparison =
      Compare(DefaultPolicy(), ObserveOnly(DefaultPolicy()), std::move(past));
  const KindComparison* crash = Find(comparison, IncidentKind::kCrash);
  ASSERT_NE(crash, nullptr);
  EXPECT_EQ(crash->after.acted, 0);
  EXPECT_EQ(crash->after.left_alone, 1);
  EXPECT_EQ(crash->after.answer, "observe");
}

TEST(PolicyComparisonTest, KindsWithNothingToTellAreLeftOut) {
  const PolicyComparison comparison =
      Compare(DefaultPolicy(), DefaultPolicy(), {});
  EXPECT_EQ(comparison.kinds.size(),
            comparison.before.findings.empty() ? 0u : 1u);
  EXPECT_NE(Find(comparison, IncidentKind::kNan), nullptr);
}

}  // namespace
}  // namespace steadyrun::replay
