#include "server/detect/run_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/unit/detect/training_rig.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Duration kShort = milliseconds(100);

TEST(RunWatchTest, ARestartedAgentIsToldAndOverAtOnce) {
  TrainingRig rig;
  rig.Steps(30, kShort);
  rig.cut = {"n0", "n1"};
  rig.Steps(12, kShort);
  rig.cut.clear();
  rig.incarnation = Incarnation{2};
  rig.Steps(12, kShort);

  ASSERT_THAT(rig.findings, SizeIs(2)) << rig.Story();
  EXPECT_EQ(rig.findings[0].kind, IncidentKind::kAgentLost);
  EXPECT_EQ(rig.findings[0].severity, Severity::kWarning);
  EXPECT_THAT(rig.findings[0].reason, HasSubstr("its ranks went on"));
  EXPECT_THAT(rig.cleared, SizeIs(2));
}

TEST(RunWatchTest, AnAgentFoundLostBeforeIsNotToldTwice) {
  TrainingRig rig(3, 2);
  rig.Steps(60, kShort);
  rig.cut = {"n1"};
  rig.Steps(60, kShort);
  ASSERT_THAT(rig.findings, SizeIs(1));
  rig.cut.clear();
  // Only n1 has a new agent.
  const Incarnation old = rig.incarnation;
  rig.incarnation = Incarnation{9};
  rig.Heartbeat("n1");
  rig.incarnation = old;
  rig.cut = {"n1"};
  rig.Tick();

  EXPECT_THAT(rig.findings, SizeIs(1)) << rig.Story();
  EXPECT_THAT(rig.cleared, SizeIs(1));
}

TEST(RunWatchTest, AFullSpoolIsAWarningUntilItIsNot) {
  TrainingRig rig;
  rig.Steps(10, kShort);
  rig.full_spools = {"n1"};
  rig.Steps(30, kShort);

  ASSERT_THAT(rig.findings, SizeIs(1)) << rig.Story();
  EXPECT_EQ(rig.findings[0].kind, IncidentKind::kStorage);
  EXPECT_EQ(rig.findings[0].culprit.node, "n1");
  EXPECT_EQ(rig.findings[0].severity, Severity::kWarning);
  EXPECT_THAT(rig.cleared, IsEmpty());

  rig.full_spools.clear();
  rig.Steps(10, kShort);
  ASSERT_THAT(rig.cleared, SizeIs(1));
  EXPECT_EQ(rig.cleared[0].kind, IncidentKind::kStorage);
}

TEST(RunWatchTest, AnExitInAHeartbeatIsACrash) {
  TrainingRig rig;
  rig.Steps(30, kShort);
  rig.ranks[3].life = RankLife::kExited;
  rig.ranks[3].exit.signal = SIGKILL;
  rig.frozen = {0, 1, 2, 3};
  const auto took = rig.PassUntilFound(seconds(5));

  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(1));
  EXPECT_EQ(rig.findings[0].kind, IncidentKind::kCrash);
  EXPECT_EQ(rig.findings[0].culprit, (Culprit{"n1", Rank{3}}));
  ASSERT_THAT(rig.watch.FinalCrash(), SizeIs(1));
  EXPECT_FALSE(rig.watch.FinalCrash()[0].is_provisional);
}

TEST(RunWatchTest, WhatConcernsOtherRunsAndAttemptsIsIgnored) {
  TrainingRig rig;
  rig.Steps(30, kShort);
  RankExited exit;
  exit.run = "another";
  exit.attempt = AttemptId{1};
  exit.rank = Rank{0};
  exit.exit.code = 1;
  rig.watch.ObserveExit(exit, rig.now);
  exit.run = "run";
  exit.attempt = AttemptId{7};
  rig.watch.ObserveExit(exit, rig.now);
  CheckpointShardBad bad;
  bad.run = "another";
  rig.watch.ObserveShardBad(bad, "n0", rig.now);
  StepRow row;
  row.run = "run";
  row.attempt = AttemptId{7};
  row.world_size = 1;
  row.metrics = {static_cast<std::uint32_t>(Metric::kLoss)};
  row.values = {std::nanf("")};
  rig.watch.ObserveRow(row, rig.now);
  rig.Steps(5, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
  EXPECT_TRUE(rig.watch.IsWatching(AttemptId{1}));
  EXPECT_FALSE(rig.watch.IsWatching(AttemptId{7}));
}

TEST(RunWatchTest, NothingIsJudgedWhileTheAttemptIsNotMeantToRun) {
  TrainingRig rig;
  rig.Steps(60, kShort);
  rig.situation.is_live = false;
  rig.cut = {"n0"};
  rig.Pass(minutes(30));

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(RunWatchTest, TheNextAttemptKeepsStepTimesAndForgetsTheRest) {
  TrainingRig rig;
  rig.Steps(60, kShort);
  rig.frozen = {1};
  rig.Pass(seconds(20));
  ASSERT_THAT(rig.findings, SizeIs(1));
  rig.frozen.clear();
  rig.Restart(AttemptId{2});
  rig.Pass(seconds(120));  // Starting takes its time.
  rig.Steps(6, kShort);
  EXPECT_THAT(rig.findings, SizeIs(1)) << rig.Story();
  rig.frozen = {1};
  rig.Pass(seconds(12));

  EXPECT_THAT(rig.findings, SizeIs(2)) << rig.Story();
}

TEST(RunWatchTest, CausesComeBeforeTheirEffects) {
  TrainingRig rig;
  rig.Steps(5, kShort);
  CheckpointShardBad bad;
  bad.run = "run";
  bad.attempt = AttemptId{1};
  bad.step = Step{2};
  rig.watch.ObserveShardBad(bad, "n0", rig.now);
  RankExited exit;
  exit.run = "run";
  exit.attempt = AttemptId{1};
  exit.rank = Rank{0};
  exit.exit.code = 1;
  rig.watch.ObserveExit(exit, rig.now);
  StepRow row;
  row.run = "run";
  row.attempt = AttemptId{1};
  row.step = Step{5};
  row.world_size = 4;
  row.metrics = {static_cast<std::uint32_t>(Metric::kLoss)};
  row.values = {1, std::nanf(""), 1, 1};
  rig.watch.ObserveRow(row, rig.now);

  const Verdicts verdicts = rig.watch.Take();

  ASSERT_THAT(verdicts.findings, SizeIs(3));
  EXPECT_EQ(verdicts.findings[0].kind, IncidentKind::kNan);
  EXPECT_EQ(verdicts.findings[1].kind, IncidentKind::kCrash);
  EXPECT_EQ(verdicts.findings[2].kind, IncidentKind::kCheckpointBad);
  EXPECT_TRUE(rig.watch.Take().IsEmpty());
}

}  // namespace
}  // namespace steadyrun
