#include "server/recovery/command_derivation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class CommandDerivationTest : public testing::Test {
 protected:
  std::vector<Command> Derive(const std::string& node) {
    const ClusterView view = cluster_.View();
    return DeriveCommands(
        state_, *view.Find(node),
        {7, policy_, checkpoints_, verified_, saved_, may_forget_});
  }
  std::vector<std::string> Ids(const std::string& node) {
    std::vector<std::string> ids;
    for (const Command& command : Derive(node)) {
      ids.push_back(command.command_id);
    }
    return ids;
  }

  RunState state_ = TestState(RunPhase::kStopping);
  TestCluster cluster_;
  CheckpointMap checkpoints_;
  std::set<NodeId> verified_;
  std::set<NodeId> saved_;
  Policy policy_ = DefaultPolicy();
  bool may_forget_ = true;
};

TEST_F(CommandDerivationTest, StoppingRaisesTheFloorAboveTheAttempt) {
  cluster_.Node("a").Floor(1).Rank(0, 1, RankLife::kAlive);

  const std::vector<Command> commands = Derive("a");

  ASSERT_EQ(commands.size(), 1U);
  EXPECT_EQ(commands[0].command_id, "gpt/2/stop/a");
  EXPECT_EQ(commands[0].attempt, AttemptId{2});
  EXPECT_EQ(commands[0].boot_id, "a-life");
  EXPECT_EQ(commands[0].server_epoch, 7U);
  EXPECT_EQ(std::get<StopCommand>(commands[0].body).grace, Duration::zero());
}

TEST_F(CommandDerivationTest, AStopThatShowsIsNotSaidAgain) {
  cluster_.Node("a").Floor(2).Rank(0, 1, RankLife::kExited);
  EXPECT_THAT(Ids("a"), IsEmpty());
}

TEST_F(CommandDerivationTest, AnOperatorsStopLeavesTimeToSayGoodBye) {
  state_.after_stop = AfterStop::kEnd;
  cluster_.Node("a").Floor(1);
  EXPECT_EQ(std::get<StopCommand>(Derive("a")[0].body).grace, seconds(3));
}

TEST_F(CommandDerivationTest, ProcessesOfAnOlderAttemptAreStoppedAnywhere) {
  for (const RunPhase phase :
       {RunPhase::kPlacing, RunPhase::kRunning, RunPhase::kPaused,
        RunPhase::kHalted, RunPhase::kCompleted, RunPhase::kStopped}) {
    state_.phase = phase;
    state_.attempt = AttemptId{3};
    cluster_.Node("z").Run().ranks.clear();
    cluster_.Node("z").Floor(1).Rank(0, 2, RankLife::kAlive);
    const std::vector<Command> commands = Derive("z");
    ASSERT_EQ(commands.size(), 1U) << RunPhaseName(phase);
    EXPECT_EQ(CommandName(commands[0].body), "stop");
  }
}

TEST_F(CommandDerivationTest, NothingIsSentToANodeThatIsNotConnected) {
  cluster_.Node("a").Floor(1).Silent(seconds(1));
  EXPECT_THAT(Ids("a"), IsEmpty());
}

TEST_F(CommandDerivationTest, VerifyNamesTheShardsOfTheNodesOwnRanks) {
  state_.phase = RunPhase::kVerifying;
  state_.attempt = AttemptId{2};
  state_.resume_step = Step{20};
  state_.resume_attempt = AttemptId{1};
  AddTo(&checkpoints_, TestCheckpoint(20, 1, CheckpointState::kVerified));
  cluster_.Node("b").Floor(2);

  const std::vector<Command> commands = Derive("b");

  ASSERT_EQ(commands.size(), 1U);
  EXPECT_EQ(commands[0].command_id, "gpt/2/verify/20.1.7/b");
  const auto& verify = std::get<VerifyCommand>(commands[0].body);
  ASSERT_EQ(verify.shards.size(), 2U);
  EXPECT_EQ(verify.shards[0].path, "/ckpt/attempt-1/20/2");
  EXPECT_EQ(verify.shards[1].rank, Rank{3});

  verified_.insert("b");
  EXPECT_THAT(Ids("b"), IsEmpty());
}

TEST_F(CommandDerivationTest, APlacedNodeFirstGetsTheFloorOfTheNextAttempt) {
  state_.phase = RunPhase::kVerifying;
  cluster_.Node("a");
  EXPECT_THAT(Ids("a"), ElementsAre("gpt/1/stop/a"));
}

class StartDerivationTest : public CommandDerivationTest {
 protected:
  StartDerivationTest() {
    state_.phase = RunPhase::kStarting;
    state_.attempt = AttemptId{2};
    state_.master_address = "addr-a";
    state_.master_port = 29500;
    cluster_.Node("b").Floor(2);
  }
};

TEST_F(StartDerivationTest, TheStartHoldsAllThatTheRanksNeed) {
  state_.resume_step = Step{20};
  state_.resume_attempt = AttemptId{1};
  state_.spec.target_steps = 1500;
  AddTo(&checkpoints_, TestCheckpoint(20, 1, CheckpointState::kVerified));

  const std::vector<Command> commands = Derive("b");

  ASSERT_EQ(commands.size(), 1U);
  EXPECT_EQ(commands[0].command_id, "gpt/2/start/b");
  const auto& start = std::get<StartCommand>(commands[0].body);
  EXPECT_EQ(start.node_rank, 1);
  EXPECT_EQ(start.world_size, 4);
  EXPECT_EQ(start.nodes, 2);
  EXPECT_EQ(start.master_address, "addr-a");
  EXPECT_EQ(start.master_port, 29500);
  EXPECT_EQ(start.checkpoint_directory, "/ckpt/attempt-2");
  EXPECT_EQ(start.resume_step, Step{20});
  EXPECT_EQ(start.target_steps, 1500);
  EXPECT_THAT(start.ranks,
              ElementsAre(RankStart{Rank{2}, 0, "/ckpt/attempt-1/20/2"},
                          RankStart{Rank{3}, 1, "/ckpt/attempt-1/20/3"}));
}

TEST_F(StartDerivationTest, WhatTheTrainingIsToLeaveOutIsInTheEnvironment) {
  state_.spec.environment = {{"A", "1"}};
  auto environment = [&] {
    const std::vector<Command> commands = Derive("b");
    return std::get<StartCommand>(commands.at(0).body).environment;
  };
  EXPECT_THAT(environment(), ElementsAre(testing::Pair("A", "1")));

  state_.skips = {{Step{10}, Step{12}}, {Step{20}, Step{20}}};
  state_.learning_rate_factor = 0.81;
  EXPECT_THAT(
      environment(),
      ElementsAre(testing::Pair("A", "1"),
                  testing::Pair("STEADYRUN_LEARNING_RATE_FACTOR", "0.81"),
                  testing::Pair("STEADYRUN_SKIP", "10-12,20-20")));
}

TEST_F(StartDerivationTest, NoStartBeforeTheFloorStands) {
  cluster_.Node("b").Floor(1);
  EXPECT_THAT(Ids("b"), ElementsAre("gpt/2/stop/b"));
}

TEST_F(StartDerivationTest, NoStartTwice) {
  cluster_.Node("b").Started(2);
  EXPECT_THAT(Ids("b"), IsEmpty());
}

TEST_F(StartDerivationTest, NoStartBesideAnOlderRank) {
  cluster_.Node("b").Rank(2, 1, RankLife::kAlive);
  EXPECT_THAT(Ids("b"), ElementsAre("gpt/2/stop/b"));
}

TEST_F(StartDerivationTest, NoStartInAnotherLifeOfTheNode) {
  cluster_.Node("b").state.boot_id = "another";
  EXPECT_THAT(Ids("b"), IsEmpty());
}

TEST_F(StartDerivationTest, NoStartAboveTheNumber) {
  cluster_.Node("b").Floor(3);
  EXPECT_THAT(Ids("b"), IsEmpty());
}

TEST_F(CommandDerivationTest, TheSaveWordGoesToNodesThatHaveNotReadIt) {
  state_.phase = RunPhase::kRunning;
  state_.save_seq = 4;
  state_.save_step = Step{99};
  cluster_.Node("a").Floor(1).Started(1).Rank(0, 1, RankLife::kAlive);
  EXPECT_THAT(Ids("a"), ElementsAre("gpt/1/save/4/a"));

  cluster_.Node("a").Run().ranks[0].save_ack_seq = 4;
  EXPECT_THAT(Ids("a"), IsEmpty());

  cluster_.Node("a").Run().ranks[0].save_ack_seq = 3;
  saved_.insert("a");
  EXPECT_THAT(Ids("a"), IsEmpty());
}

TEST_F(CommandDerivationTest, AnEndedRunIsForgottenAfterItsLastWords) {
  state_.phase = RunPhase::kCompleted;
  may_forget_ = false;
  cluster_.Node("a").Floor(1).Started(1).Rank(0, 1, RankLife::kExited);
  EXPECT_THAT(Ids("a"), IsEmpty());

  may_forget_ = true;
  EXPECT_THAT(Ids("a"), ElementsAre("gpt/1/forget/a"));

  cluster_.Node("b");  // Knows nothing of it.
  EXPECT_THAT(Ids("b"), IsEmpty());
}

TEST(CheckpointDirectoryTest, EachAttemptHasItsOwn) {
  EXPECT_EQ(CheckpointDirectory(TestSpec(), AttemptId{3}), "/ckpt/attempt-3");
  RunSpec none = TestSpec();
  none.checkpoint_directory = "";
  EXPECT_EQ(CheckpointDirectory(none, AttemptId{3}), "");
}

}  // namespace
}  // namespace steadyrun
