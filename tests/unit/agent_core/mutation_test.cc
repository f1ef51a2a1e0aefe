// Each deliberate defect shows: what the simulation relies on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

CoreOptions With(CoreMutation mutation) {
  CoreOptions options = CoreRig::DefaultOptions();
  options.mutation = mutation;
  return options;
}

TEST(MutationTest, KillBeforeFencePersisted) {
  CoreRig rig(With(CoreMutation::kKillBeforeFencePersisted));
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));

  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));
  EXPECT_THAT(rig.writes, SizeIs(1));
}

TEST(MutationTest, SpawnBeforeStartedPersisted) {
  CoreRig rig(With(CoreMutation::kSpawnBeforeStartedPersisted));
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  rig.Send(rig.Start(AttemptId{1}));

  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
  EXPECT_THAT(rig.writes, SizeIs(1));
}

TEST(MutationTest, NoEpochCheck) {
  CoreRig rig(With(CoreMutation::kNoEpochCheck));
  rig.StartRun();
  rig.Connect(0, "old");
  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));
}

TEST(MutationTest, NoBootCheck) {
  CoreRig rig(With(CoreMutation::kNoBootCheck));
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  Command start = rig.Start(AttemptId{1});
  start.boot_id = "another";
  rig.Send(start);
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
}

TEST(MutationTest, StartsBesideOlderAttempt) {
  CoreRig rig(With(CoreMutation::kStartsBesideOlderAttempt));
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();
  rig.Send(rig.Start(AttemptId{2}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
}

TEST(MutationTest, StoppedBeforeDead) {
  CoreRig rig(With(CoreMutation::kStoppedBeforeDead));
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();

  EXPECT_EQ(rig.State().runs[0].ranks[0].life, RankLife::kExited);
}

TEST(MutationTest, DropsUnackedReports) {
  CoreRig rig(With(CoreMutation::kDropsUnackedReports));
  rig.StartRun();
  rig.Connect();

  EXPECT_EQ(rig.All<DropReportsThrough>().at(0).seq, ReportSeq{1});
}

TEST(MutationTest, KillsRanksWhenServerIsLost) {
  CoreRig rig(With(CoreMutation::kKillsRanksWhenServerIsLost));
  rig.StartRun();
  rig.Step(StreamClosed{""});

  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));
}

}  // namespace
}  // namespace steadyrun::agent
