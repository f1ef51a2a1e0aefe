#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

SaveWordWritten Written(const WriteSaveWord& order) {
  return {order.command_id, order.run, order.attempt, false, ""};
}

TEST(SaveTest, IsAnsweredWhenTheWordIsWritten) {
  CoreRig rig;
  rig.StartRun();

  rig.Send(rig.Save(20, 1));
  ASSERT_THAT(rig.All<WriteSaveWord>(), SizeIs(1));
  EXPECT_THAT(rig.Outcomes(), IsEmpty());
  rig.Step(Written(rig.All<WriteSaveWord>()[0]));

  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kDone));
}

TEST(SaveTest, IsMissedWhenARankHasDoneTheStep) {
  CoreRig rig;
  rig.StartRun();
  rig.Observe(AttemptId{1}, 0, 19);
  rig.Observe(AttemptId{1}, 1, 20);

  rig.Send(rig.Save(20, 1));

  EXPECT_THAT(rig.All<WriteSaveWord>(), IsEmpty());
  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kMissed));
}

TEST(SaveTest, IsMissedWhenTheWriterSaysSo) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Save(20, 1));
  SaveWordWritten written = Written(rig.All<WriteSaveWord>().at(0));
  written.is_missed = true;

  rig.Step(written);

  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kMissed));
}

TEST(SaveTest, ADuplicateIsWrittenOnce) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Save(20, 1));
  rig.Send(rig.Save(20, 1));
  rig.Step(Written(rig.All<WriteSaveWord>()[0]));
  rig.Send(rig.Save(20, 1));

  EXPECT_THAT(rig.All<WriteSaveWord>(), SizeIs(1));
  EXPECT_THAT(rig.Outcomes(), SizeIs(1));
}

TEST(SaveTest, IsRefusedForAnAttemptThatDoesNotRunHere) {
  CoreRig rig;
  rig.StartRun(2, AttemptId{2});

  rig.Send(rig.Save(20, 1, AttemptId{1}));

  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kStaleAttempt));
}

TEST(SaveTest, FailsWhenAllRanksAreGone) {
  CoreRig rig;
  rig.StartRun(1);
  rig.Gone(AttemptId{1}, 0, {.code = 1});
  rig.Clear();

  rig.Send(rig.Save(20, 1));

  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kFailed));
}

TEST(SaveTest, VerificationReportsItsChecks) {
  CoreRig rig;
  rig.StartRun();
  rig.Send(rig.Verify());
  ASSERT_THAT(rig.All<VerifyShards>(), SizeIs(1));
  const VerifyShards order = rig.All<VerifyShards>()[0];
  rig.Send(rig.Verify());  // Still under way.

  ShardsVerified verified{order.command_id, order.run, order.attempt, {}};
  verified.checks.push_back({Rank{0}, "/ckpt/rank-0", false, "digest differs"});
  rig.Step(verified);

  EXPECT_THAT(rig.All<VerifyShards>(), SizeIs(1));
  const auto results = rig.Reports<CommandResult>();
  ASSERT_THAT(results, SizeIs(1));
  EXPECT_EQ(results[0].checks.at(0).error, "digest differs");
}

TEST(SaveTest, AVerificationOfOtherShardsIsAnotherQuestion) {
  CoreRig rig;
  rig.StartRun();
  const auto answer = [&rig] {
    const VerifyShards order = rig.All<VerifyShards>().back();
    ShardsVerified verified{order.command_id, order.run, order.attempt, {}};
    for (const ShardRef& shard : order.verify.shards) {
      verified.checks.push_back({shard.rank, shard.path, true, ""});
    }
    rig.Step(verified);
  };
  rig.Send(rig.Verify());
  answer();
  rig.Send(rig.Verify());
  EXPECT_THAT(rig.All<VerifyShards>(), SizeIs(1));  // Known.

  Command other = rig.Verify();
  std::get<VerifyCommand>(other.body).shards[0].rank = Rank{1};
  rig.Send(other);
  EXPECT_THAT(rig.All<VerifyShards>(), SizeIs(2));
}

TEST(SaveTest, AFullStateDiskSaysNothingAboutACheckpoint) {
  CoreRig rig;
  rig.StartRun();
  rig.Step(StreamOpened{});
  Welcome welcome;
  welcome.server_epoch = 2;
  rig.Step(WelcomeReceived{welcome});
  rig.FailPersist();
  Command verify = rig.Verify();
  verify.server_epoch = 2;
  rig.Clear();

  rig.Send(verify);
  rig.FailPersist();

  EXPECT_THAT(rig.Outcomes(), ElementsAre(CommandOutcome::kBusy));
  EXPECT_THAT(rig.All<VerifyShards>(), IsEmpty());
}

TEST(SaveTest, AnAnswerNobodyWaitsForIsIgnored) {
  CoreRig rig;
  rig.StartRun();

  rig.Step(SaveWordWritten{"unknown", "run", AttemptId{1}, false, ""});
  rig.Step(ShardsVerified{"unknown", "run", AttemptId{1}, {}});

  EXPECT_THAT(rig.Outcomes(), IsEmpty());
}

}  // namespace
}  // namespace steadyrun::agent
