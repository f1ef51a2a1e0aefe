#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(StartTest, IsAnsweredWhenAllRanksAreSpawned) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  rig.Send(rig.Start(AttemptId{1}));
  rig.PersistAll();

  rig.Spawned(AttemptId{1}, 0);
  EXPECT_THAT(rig.Outcomes(), IsEmpty());
  rig.Spawned(AttemptId{1}, 1);
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kDone));

  const NodeRunState run = rig.State().runs.at(0);
  EXPECT_EQ(run.started, AttemptId{1});
  EXPECT_EQ(run.ranks.at(1).pid, 101);
  EXPECT_EQ(run.ranks.at(1).life, RankLife::kStarting);
}

TEST(StartTest, IsNeverExecutedTwice) {
  CoreRig rig;
  rig.StartRun();

  rig.Send(rig.Start(AttemptId{1}));
  rig.PersistAll();
  rig.Gone(AttemptId{1}, 0, {.code = 1});
  rig.Gone(AttemptId{1}, 1, {.code = 1});
  rig.Send(rig.Start(AttemptId{1}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
}

TEST(StartTest, ADuplicateIsAnsweredAgainOnceTheFirstAnswerWasAcknowledged) {
  CoreRig rig;
  rig.StartRun();

  rig.Send(rig.Start(AttemptId{1}));
  EXPECT_THAT(rig.Outcomes(), IsEmpty());

  rig.Step(AckReceived{ReportSeq{1}});
  rig.Advance(seconds(2));
  rig.Send(rig.Start(AttemptId{1}));
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kDone));
}

TEST(StartTest, ADuplicateWhileSpawningSaysNothing) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  rig.Send(rig.Start(AttemptId{1}));
  rig.PersistAll();
  rig.Spawned(AttemptId{1}, 0);

  rig.Send(rig.Start(AttemptId{1}));

  EXPECT_THAT(rig.Outcomes(), IsEmpty());
  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
}

TEST(StartTest, IsRefusedBelowTheFloor) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{3}));
  rig.PersistAll();

  rig.Send(rig.Start(AttemptId{2}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kStaleAttempt));
}

TEST(StartTest, WaitsForItsFence) {
  CoreRig rig;
  rig.Connect();

  rig.Send(rig.Start(AttemptId{1}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kBusy));
}

TEST(StartTest, WaitsUntilEveryOlderRankIsGone) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();

  rig.Gone(AttemptId{1}, 0, {.signal = 9});
  rig.Clear();
  rig.Send(rig.Start(AttemptId{2}));
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kBusy));
  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());

  rig.Gone(AttemptId{1}, 1, {.signal = 9});
  rig.Send(rig.Start(AttemptId{2}));
  rig.PersistAll();
  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
  EXPECT_THAT(rig.State().runs[0].ranks, SizeIs(2));  // Old ones are pruned.
}

TEST(StartTest, IsRefusedForAnotherBoot) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  Command start = rig.Start(AttemptId{1});
  start.boot_id = "kernel-0:uuid-1";

  rig.Send(start);
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kBootMismatch));
}

TEST(StartTest, IsRefusedForAProgramThatIsNotAllowed) {
  CoreOptions options = CoreRig::DefaultOptions();
  options.launch_allow = {"/opt/train/", "/usr/bin/true"};
  CoreRig rig(options);
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();

  Command start = rig.Start(AttemptId{1});
  rig.Send(start);
  std::get<StartCommand>(start.body).argv = {"/opt/train/../../bin/sh"};
  start.command_id += "-2";
  rig.Send(start);
  EXPECT_THAT(rig.Outcomes(),
              ElementsAre(CommandOutcome::kRefused, CommandOutcome::kRefused));
  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());

  std::get<StartCommand>(start.body).argv = {"/opt/train/run.sh"};
  start.command_id += "-3";
  rig.Send(start);
  rig.PersistAll();
  EXPECT_THAT(rig.All<SpawnRank>(), SizeIs(2));
}

TEST(StartTest, AFailedSpawnFailsTheStartOnce) {
  CoreRig rig;
  rig.Connect();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  rig.Send(rig.Start(AttemptId{1}));
  rig.PersistAll();

  rig.Step(RankSpawnFailed{"run", AttemptId{1}, Rank{0}, "fork: EAGAIN"});
  rig.Spawned(AttemptId{1}, 1);

  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kFailed));
  EXPECT_THAT(rig.Reports<CommandResult>()[0].message, HasSubstr("EAGAIN"));
  EXPECT_EQ(rig.State().runs[0].ranks[0].life, RankLife::kExited);
  EXPECT_EQ(rig.State().runs[0].ranks[1].life, RankLife::kStarting);
}

// The agent died after the start was on disk and before the fork: the start is
// spent, and the server is told so instead of waiting for ever.
TEST(StartTest, ABurnedStartOfAnEarlierLifeIsToldAsFailed) {
  DurableState durable = CoreRig::FreshState();
  durable.runs = {{"run", AttemptId{2}, AttemptId{2}}};
  CoreRig rig(CoreRig::DefaultOptions(), durable);
  rig.Connect();

  rig.Send(rig.Start(AttemptId{2}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kFailed));
}

TEST(StartTest, AfterARestartOfTheAgentItsSurvivorsAnswerForTheStart) {
  DurableState durable = CoreRig::FreshState();
  durable.runs = {{"run", AttemptId{1}, AttemptId{1}}};
  NodeRunState survivors{
      .run = "run", .floor = {}, .started = AttemptId{1}, .ranks = {}};
  for (int i = 0; i < 2; ++i) {
    RankState rank;
    rank.rank = Rank{i};
    rank.attempt = AttemptId{1};
    rank.life = RankLife::kAlive;
    rank.pid = 500 + i;
    survivors.ranks.push_back(rank);
  }
  CoreRig rig(CoreRig::DefaultOptions(), durable, {survivors});
  rig.Connect();

  rig.Send(rig.Start(AttemptId{1}));
  rig.PersistAll();

  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kDone));
  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
  EXPECT_EQ(rig.State().runs[0].ranks[1].pid, 501);
}

TEST(StartTest, AForgottenRunIsNotShownButStaysFenced) {
  CoreRig rig;
  rig.StartRun(1);
  rig.Send(rig.Forget());
  rig.PersistAll();
  EXPECT_THAT(rig.All<RemoveRunFiles>(), IsEmpty());  // It lives.

  rig.Gone(AttemptId{1}, 0, {.code = 0});
  rig.Send(rig.Forget());
  rig.PersistAll();
  EXPECT_THAT(rig.All<RemoveRunFiles>(), SizeIs(1));
  EXPECT_THAT(rig.State().runs, IsEmpty());

  Command again = rig.Start(AttemptId{1}, 1);
  again.command_id += "-again";
  rig.Send(again);
  rig.PersistAll();
  EXPECT_THAT(rig.All<SpawnRank>(), IsEmpty());
}

TEST(StartTest, TheNodeRemembersABoundedNumberOfRuns) {
  CoreRig rig;
  rig.Connect();
  for (int i = 0; i < 65; ++i) {
    Command stop = rig.Stop(AttemptId{1});
    stop.run = "run-" + std::to_string(i);
    stop.command_id = stop.run;
    rig.Send(stop);
    rig.PersistAll();
  }

  EXPECT_THAT(rig.State().runs, SizeIs(64));
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kRefused));
}

}  // namespace
}  // namespace steadyrun::agent
