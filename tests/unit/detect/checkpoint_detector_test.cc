#include "server/detect/checkpoint_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Now At(Duration since) {
  return {MonoTime(minutes(100)) + since, WallTime{seconds(1'700'000'000)}};
}

CheckpointDetector Watching(Duration interval, std::int64_t steps) {
  CheckpointOptions options;
  options.interval = interval;
  options.interval_steps = steps;
  CheckpointDetector detector(options);
  WatchedAttempt attempt;
  attempt.run = "run";
  attempt.attempt = AttemptId{1};
  attempt.rank_nodes = {"a", "b"};
  detector.Begin(attempt, At({}).mono);
  return detector;
}

CheckpointShardBad Bad(std::int64_t step) {
  CheckpointShardBad bad;
  bad.run = "run";
  bad.attempt = AttemptId{1};
  bad.step = Step{step};
  bad.rank = Rank{1};
  bad.path = "/ckpt/step-50/rank-1.pt";
  bad.error = "sha256 differs";
  return bad;
}

TEST(CheckpointDetectorTest, ABadCheckpointIsOneWarning) {
  CheckpointDetector detector = Watching({}, 0);

  const auto bad = detector.ObserveBad(Bad(50), "b", At(seconds(1)));

  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->kind, IncidentKind::kCheckpointBad);
  EXPECT_EQ(bad->severity, Severity::kWarning);
  EXPECT_EQ(bad->culprit, (Culprit{"b", Rank{1}}));
  EXPECT_EQ(bad->step, Step{50});
  EXPECT_EQ(bad->reason,
            "The checkpoint of step 50 is bad: the shard of rank 1 on b: "
            "sha256 differs.");
  CheckpointShardBad other = Bad(50);
  other.rank = Rank{0};
  EXPECT_FALSE(detector.ObserveBad(other, "a", At(seconds(2))).has_value());
  EXPECT_TRUE(detector.ObserveBad(Bad(60), "b", At(seconds(2))).has_value());
}

TEST(CheckpointDetectorTest, AShardThatCannotBeReadBackIsBadFromBirth) {
  CheckpointDetector detector = Watching({}, 0);
  CheckpointShard shard;
  shard.run = "run";
  shard.attempt = AttemptId{1};
  shard.step = Step{50};
  shard.rank = Rank{0};
  EXPECT_FALSE(detector.ObserveShard(shard, "a", At({})).has_value());
  shard.error = "No space left on device";
  EXPECT_TRUE(detector.ObserveShard(shard, "a", At({})).has_value());
}

TEST(CheckpointDetectorTest, AFailedCheckBeforeAResumeIsBad) {
  CheckpointDetector detector = Watching({}, 0);
  ShardCheck check;
  check.rank = Rank{1};
  check.path = "/x";
  check.ok = true;
  EXPECT_FALSE(detector.ObserveCheck(AttemptId{1}, Step{50}, check, "b", At({}))
                   .has_value());
  check.ok = false;
  check.error = "no such file";
  const auto bad =
      detector.ObserveCheck(AttemptId{1}, Step{50}, check, "b", At({}));
  ASSERT_TRUE(bad.has_value());
  EXPECT_THAT(bad->reason, HasSubstr("no such file"));
}

TEST(CheckpointDetectorTest, TheNextCompleteOneReplacesTheBad) {
  CheckpointDetector detector = Watching({}, 0);
  detector.ObserveBad(Bad(50), "b", At({}));
  // The bad one itself completing late is no replacement.
  EXPECT_THAT(
      detector.ObserveComplete(AttemptId{1}, Step{50}, At(seconds(1)).mono),
      IsEmpty());

  const auto cleared =
      detector.ObserveComplete(AttemptId{1}, Step{60}, At(seconds(2)).mono);

  ASSERT_THAT(cleared, SizeIs(1));
  EXPECT_EQ(cleared.front().kind, IncidentKind::kCheckpointBad);
  EXPECT_THAT(
      detector.ObserveComplete(AttemptId{1}, Step{70}, At(seconds(3)).mono),
      IsEmpty());
}

TEST(CheckpointDetectorTest, NothingIsOverdueWithoutAnInterval) {
  CheckpointDetector detector = Watching({}, 0);
  for (int minute = 0; minute < 10000; minute += 100) {
    EXPECT_FALSE(
        detector.Evaluate(true, Step{minute}, At(minutes(minute))).has_value());
    EXPECT_FALSE(detector.IsSaveDue(Step{minute}, At(minutes(minute)).mono));
  }
}

TEST(CheckpointDetectorTest, OverdueAfterThreeIntervalsOfTime) {
  CheckpointDetector detector = Watching(minutes(10), 0);
  EXPECT_FALSE(detector.Evaluate(true, Step{1}, At({})).has_value());
  EXPECT_FALSE(detector.IsSaveDue(Step{5}, At(minutes(9)).mono));
  EXPECT_TRUE(detector.IsSaveDue(Step{5}, At(minutes(10)).mono));
  EXPECT_FALSE(detector.Evaluate(true, Step{9}, At(minutes(29))).has_value());

  const auto overdue = detector.Evaluate(true, Step{9}, At(minutes(30)));

  ASSERT_TRUE(overdue.has_value());
  EXPECT_EQ(overdue->kind, IncidentKind::kCheckpointOverdue);
  EXPECT_EQ(overdue->severity, Severity::kWarning);
  EXPECT_FALSE(detector.Evaluate(true, Step{9}, At(minutes(60))).has_value());
  const auto cleared =
      detector.ObserveComplete(AttemptId{1}, Step{9}, At(minutes(61)).mono);
  ASSERT_THAT(cleared, SizeIs(1));
  EXPECT_EQ(cleared.front().kind, IncidentKind::kCheckpointOverdue);
  EXPECT_FALSE(detector.Evaluate(true, Step{9}, At(minutes(90))).has_value());
  EXPECT_TRUE(detector.Evaluate(true, Step{9}, At(minutes(91))).has_value());
}

TEST(CheckpointDetectorTest, OverdueAfterThreeIntervalsOfSteps) {
  CheckpointDetector detector = Watching({}, 50);
  detector.Evaluate(true, Step{100}, At({}));
  EXPECT_TRUE(detector.IsSaveDue(Step{150}, At({}).mono));
  EXPECT_FALSE(detector.Evaluate(true, Step{249}, At({})).has_value());
  EXPECT_TRUE(detector.Evaluate(true, Step{250}, At({})).has_value());
}

TEST(CheckpointDetectorTest, TimeWithoutTrainingDoesNotCount) {
  CheckpointDetector detector = Watching(minutes(10), 0);
  detector.Evaluate(true, Step{1}, At({}));
  detector.Evaluate(false, Step{1}, At(minutes(20)));
  EXPECT_FALSE(detector.IsSaveDue(Step{1}, At(minutes(25)).mono));
  EXPECT_FALSE(detector.Evaluate(true, Step{1}, At(minutes(200))).has_value());
  EXPECT_FALSE(detector.Evaluate(true, Step{1}, At(minutes(229))).has_value());
  EXPECT_TRUE(detector.Evaluate(true, Step{1}, At(minutes(230))).has_value());
}

}  // namespace
}  // namespace steadyrun
