// What is on disk before what is done: the order that every promise rests on.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(PersistTest, ANewEpochIsOnDiskBeforeACommandOfItIsObeyed) {
  CoreRig rig;
  rig.StartRun();
  rig.Step(StreamClosed{"gone"});
  rig.Clear();

  rig.Step(StreamOpened{});
  rig.Step(WelcomeReceived{
      {.server_epoch = 2, .server_id = "b", .resume_after = ReportSeq{1}}});
  ASSERT_THAT(rig.writes, SizeIs(1));
  EXPECT_EQ(rig.writes.front().state.max_server_epoch, 2u);
  Command stop = rig.Stop(AttemptId{2});
  stop.server_epoch = 2;
  rig.Send(stop);
  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());

  rig.Persist();  // The epoch.
  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  rig.Persist();  // The floor.
  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));
  EXPECT_EQ(rig.disk.server_id, "b");
}

TEST(PersistTest, AFloorIsOnDiskBeforeTheFirstKill) {
  CoreRig rig;
  rig.StartRun();

  rig.Send(rig.Stop(AttemptId{2}));
  ASSERT_THAT(rig.writes, SizeIs(1));
  EXPECT_EQ(rig.writes.front().state.runs[0].floor, AttemptId{2});
  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  EXPECT_EQ(rig.State().runs[0].floor, AttemptId{1});  // Not claimed yet.

  rig.Persist();
  ASSERT_THAT(rig.All<KillRanks>(), SizeIs(1));
  EXPECT_EQ(rig.All<KillRanks>()[0].below, AttemptId{2});
  EXPECT_EQ(rig.State().runs[0].floor, AttemptId{2});
}

TEST(PersistTest, AStartIsOnDiskBeforeTheFirstSpawn) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();

  rig.Send(rig.Start(AttemptId{1}));
  ASSERT_THAT(rig.writes, SizeIs(1));
  EXPECT_EQ(rig.writes.front().state.runs[0].started, AttemptId{1});
  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());

  rig.Persist();
  ASSERT_THAT(rig.All<SpawnRank>(), SizeIs(2));
  EXPECT_THAT(rig.All<SpawnRank>()[1].start.ranks,
              ElementsAre(RankStart{Rank{1}, 1, ""}));
}

TEST(PersistTest, AFullStateDiskRefusesAndIsTriedAgainWhenTheCommandReturns) {
  CoreRig rig;
  rig.StartRun();

  rig.Send(rig.Stop(AttemptId{2}));
  rig.FailPersist();
  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kFailed));
  EXPECT_THAT(rig.Reports<CommandResult>()[0].message,
              ::testing::HasSubstr("state disk"));
  EXPECT_EQ(rig.State().runs[0].floor, AttemptId{1});

  rig.Send(rig.Stop(AttemptId{2}));
  rig.Persist();
  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));
}

TEST(PersistTest, AFailedStartIsNotCarriedOutAndCanBeRepeated) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();

  rig.Send(rig.Start(AttemptId{1}));
  rig.FailPersist();
  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_EQ(rig.State().runs[0].started, AttemptId{0});

  rig.Send(rig.Start(AttemptId{1}));
  rig.Persist();
  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
}

TEST(PersistTest, OneWriteAtATimeAndCommandsWaitInOrder) {
  CoreRig rig;
  rig.Connect();

  rig.Send(rig.Stop(AttemptId{1}));
  rig.Send(rig.Start(AttemptId{1}));
  EXPECT_THAT(rig.writes, SizeIs(1));
  rig.Persist();
  EXPECT_THAT(rig.writes, SizeIs(1));
  rig.Persist();

  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
}

TEST(PersistTest, WaitingCommandsDieWithTheirStream) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.Send(rig.Start(AttemptId{1}));

  rig.Step(StreamClosed{"reset"});
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_EQ(rig.disk.runs[0].started, AttemptId{0});
}

TEST(PersistTest, AStartWhoseStreamEndedDuringTheWriteIsBurned) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  rig.Send(rig.Start(AttemptId{1}));

  rig.Step(StreamClosed{"reset"});
  rig.Persist();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kFailed));
}

TEST(PersistTest, AStartIsBurnedWhenTheDiskHangs) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  rig.Send(rig.Start(AttemptId{1}));

  rig.Advance(seconds(60));
  rig.Persist();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kFailed));
}

TEST(PersistTest, AStopWhoseStreamEndedDuringTheWriteStillKills) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));

  rig.Step(StreamClosed{"reset"});
  rig.Persist();

  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));
}

TEST(PersistTest, ReportNumbersStayBelowThePersistedBound) {
  CoreRig rig;
  rig.StartRun();

  EXPECT_GT(rig.disk.next_seq, ReportSeq{1000});
}

}  // namespace
}  // namespace steadyrun::agent
