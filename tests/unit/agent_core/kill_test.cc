#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::IsEmpty;
using ::testing::SizeIs;

NodeRunState Survivor(std::int64_t attempt) {
  RankState rank;
  rank.rank = Rank{0};
  rank.attempt = AttemptId{attempt};
  rank.life = RankLife::kAlive;
  return {.run = "run",
          .floor = {},
          .started = AttemptId{attempt},
          .ranks = {rank}};
}

// Found by simulation seed 34: the ranks of a lost state directory are killed,
// and a later attempt under the same name must not be.
TEST(KillTest, AnOrphansNameIsFreeOnceItIsGone) {
  CoreRig rig(CoreRig::DefaultOptions(), CoreRig::FreshState(), {Survivor(5)});
  rig.Tick();
  ASSERT_THAT(rig.All<KillRanks>(), SizeIs(1));
  rig.Gone(AttemptId{5}, 0, {.signal = 9});

  rig.StartRun(2, AttemptId{6});
  rig.Tick(seconds(5));

  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
}

TEST(KillTest, IsRepeatedUntilAllAreGone) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();
  rig.Clear();

  rig.Tick(milliseconds(500));
  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  rig.Tick(milliseconds(500));
  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));

  rig.Gone(AttemptId{1}, 0, {.signal = 9});
  rig.Gone(AttemptId{1}, 1, {.signal = 9});
  rig.Clear();
  rig.Tick(seconds(5));
  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
}

TEST(KillTest, RepetitionsNeverExtendTheGrace) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}, seconds(5)));
  rig.PersistAll();
  ASSERT_EQ(rig.All<KillRanks>().at(0).grace, Duration(seconds(5)));
  rig.Clear();

  rig.Advance(seconds(2));
  rig.Send(rig.Stop(AttemptId{2}, seconds(5)));
  ASSERT_THAT(rig.All<KillRanks>(), SizeIs(1));
  EXPECT_EQ(rig.All<KillRanks>()[0].grace, Duration(seconds(3)));

  rig.Tick(seconds(10));
  EXPECT_EQ(rig.All<KillRanks>().back().grace, Duration(0));
}

TEST(KillTest, AShorterGraceReplacesALongerOne) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}, seconds(30)));
  rig.PersistAll();
  rig.Clear();

  rig.Send(rig.Stop(AttemptId{2}));

  ASSERT_THAT(rig.All<KillRanks>(), SizeIs(1));
  EXPECT_EQ(rig.All<KillRanks>()[0].grace, Duration(0));
}

TEST(KillTest, AnOlderStopChangesNothing) {
  CoreRig rig;
  rig.StartRun(2, AttemptId{3});

  rig.Send(rig.Stop(AttemptId{2}));
  rig.Send(rig.Stop(AttemptId{3}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  EXPECT_EQ(rig.State().runs[0].floor, AttemptId{3});
}

// The agent died between the fence and the kill: its next life kills.
TEST(KillTest, SurvivorsBelowTheFloorAreKilledAtStart) {
  DurableState durable = CoreRig::FreshState();
  durable.runs = {{"run", AttemptId{2}, AttemptId{1}}};
  CoreRig rig(CoreRig::DefaultOptions(), durable, {Survivor(1)});

  rig.Step(Ticked{});

  ASSERT_THAT(rig.All<KillRanks>(), SizeIs(1));
  EXPECT_EQ(rig.All<KillRanks>()[0].below, AttemptId{2});
  rig.Gone(AttemptId{1}, 0, {.signal = 9});
  EXPECT_TRUE(rig.Reports<RankExited>().at(0).killed_by_agent);
}

TEST(KillTest, SurvivorsOfTheCurrentAttemptAreLeftAlone) {
  DurableState durable = CoreRig::FreshState();
  durable.runs = {{"run", AttemptId{1}, AttemptId{1}}};
  CoreRig rig(CoreRig::DefaultOptions(), durable, {Survivor(1)});

  for (int i = 0; i < 100; ++i) rig.Tick(seconds(1));

  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  EXPECT_EQ(rig.State().runs[0].ranks[0].life, RankLife::kAlive);
}

// A new boot id says that nothing of before lives. So it is made true first.
TEST(KillTest, RanksOfALostStateAreKilledBeforeTheServerHearsOfTheNewOne) {
  CoreRig rig(CoreRig::DefaultOptions(), CoreRig::FreshState(), {Survivor(4)});

  rig.Step(Ticked{});
  EXPECT_THAT(rig.All<KillRanks>(), SizeIs(1));
  rig.Step(StreamOpened{});
  EXPECT_THAT(rig.All<SendHello>(), IsEmpty());
  EXPECT_THAT(rig.All<CloseStream>(), SizeIs(1));

  rig.Gone(AttemptId{4}, 0, {.signal = 9});
  rig.Step(StreamOpened{});
  EXPECT_THAT(rig.All<SendHello>(), SizeIs(1));
}

TEST(KillTest, LosingTheServerChangesNothingForTheRanks) {
  CoreRig rig;
  rig.StartRun();

  rig.Step(StreamClosed{"gone"});
  for (int i = 0; i < 1000; ++i) rig.Tick(seconds(10));

  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.State().runs[0].ranks, SizeIs(2));
}

TEST(KillTest, ACrashJustBeforeTheOrderIsStillEvidence) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();

  rig.Gone(AttemptId{1}, 0, {.signal = 11});
  rig.Gone(AttemptId{1}, 1, {.signal = 9});

  const auto exits = rig.Reports<RankExited>();
  ASSERT_THAT(exits, SizeIs(2));
  EXPECT_FALSE(exits[0].killed_by_agent);
  EXPECT_TRUE(exits[1].killed_by_agent);
}

TEST(KillTest, ASigkillThatNobodyOrderedIsEvidence) {
  CoreRig rig;
  rig.StartRun();

  rig.Gone(AttemptId{1}, 0, {.signal = 9});

  EXPECT_FALSE(rig.Reports<RankExited>().at(0).killed_by_agent);
}

TEST(KillTest, ARankIsShownAliveUntilItsEndIsProved) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();

  EXPECT_NE(rig.State().runs[0].ranks[0].life, RankLife::kExited);
  rig.Gone(AttemptId{1}, 0, {.signal = 9});
  EXPECT_EQ(rig.State().runs[0].ranks[0].life, RankLife::kExited);
  EXPECT_EQ(rig.State().runs[0].ranks[0].exit.signal, 9);
}

}  // namespace
}  // namespace steadyrun::agent
