#include "server/engine/operator_actions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/engine/engine_fixture.h"

namespace steadyrun {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

ReplyToOperator ReplyIn(const Outcome& outcome) {
  const auto replies = EffectsOf<ReplyToOperator>(outcome);
  return replies.size() == 1 ? replies[0] : ReplyToOperator{};
}
std::string Message(const ReplyToOperator& reply) {
  return std::string(reply.status.message());
}

TEST(OperatorActionsTest, ALaunchSentTwiceIsCarriedOutOnce) {
  EngineFixture f;
  f.Connect("a");
  f.Connect("b");
  const ReplyToOperator first = ReplyIn(f.Launch("q"));

  const Outcome again = f.Launch("q");

  EXPECT_TRUE(ReplyIn(again).is_duplicate);
  EXPECT_EQ(ReplyIn(again).message, first.message);
  EXPECT_THAT(again.changes, IsEmpty());
}

TEST(OperatorActionsTest, ANameThatIsTakenIsRefused) {
  EngineFixture f;
  f.Launch("q1");
  const Outcome outcome = f.Launch("q2");
  EXPECT_EQ(ReplyIn(outcome).status.code(), absl::StatusCode::kAlreadyExists);
  const auto audit = ChangesOf<AuditEntry>(outcome);
  ASSERT_THAT(audit, SizeIs(1));
  EXPECT_THAT(audit[0].outcome, HasSubstr("refused"));
}

TEST(OperatorActionsTest, ANameUsedAgainGoesOnCounting) {
  EngineFixture f;
  f.StartRun();
  f.Act(OperatorAction::kStop);
  for (const std::string node : {"a", "b"}) {
    f.RunOn(node).floor = AttemptId{2};
    f.RunOn(node).ranks.clear();
    f.Beat(node);
  }
  ASSERT_EQ(f.Run().state.phase, RunPhase::kStopped);

  EXPECT_TRUE(ReplyIn(f.Launch("q2")).status.ok());

  EXPECT_EQ(f.Run().state.attempt, AttemptId{2});
  EXPECT_EQ(f.Run().state.first_attempt, AttemptId{2});
  EXPECT_EQ(f.Run().state.max_step, kNoStep);
}

TEST(OperatorActionsTest, AMuteIsAChangeWithAnEndAndAnAudit) {
  EngineFixture f;
  f.Launch("q");
  ActionRequested mute;
  mute.request_id = "m";
  mute.actor = "ada";
  mute.run = "gpt";
  mute.action = OperatorAction::kMute;
  mute.reason = "maintenance";
  mute.duration = std::chrono::hours(2);
  const Outcome outcome = f.Step(mute);
  const auto mutes = ChangesOf<Mute>(outcome);
  ASSERT_THAT(mutes, SizeIs(1));
  const auto audit = ChangesOf<AuditEntry>(outcome);
  ASSERT_THAT(audit, SizeIs(1));
  EXPECT_EQ(audit[0].action, "mute");
  EXPECT_EQ(mutes[0].until, audit[0].at + std::chrono::hours(2));
  EXPECT_EQ(mutes[0].actor, "ada");
  EXPECT_THAT(ChangesOf<Mute>(f.Step(mute)), IsEmpty());  // Sent twice.

  const Outcome over = f.Act(OperatorAction::kUnmute);
  ASSERT_THAT(ChangesOf<Mute>(over), SizeIs(1));
  EXPECT_EQ(ChangesOf<Mute>(over)[0].until, ChangesOf<AuditEntry>(over)[0].at);
}

TEST(OperatorActionsTest, BadSpecsAreRefusedWithTheField) {
  struct Case {
    std::function<void(RunSpec*)> spoil;
    const char* says;
  };
  for (const Case& c :
       {Case{[](RunSpec* s) { s->argv.clear(); }, "command is empty"},
        Case{[](RunSpec* s) { s->nodes = 0; }, "nodes is 0"},
        Case{[](RunSpec* s) { s->ranks_per_node = -2; }, "ranks_per_node"},
        Case{[](RunSpec* s) { s->nodes = 99999, s->ranks_per_node = 99999; },
             "ranks_per_node"},
        Case{[](RunSpec* s) { s->target_steps = -1; }, "target_steps"},
        Case{[](RunSpec* s) { s->policy_toml = "[restrat]\n"; }, "restart"}}) {
    EngineFixture f;
    LaunchRequested launch;
    launch.spec.run = "gpt";
    launch.spec.argv = {"train"};
    c.spoil(&launch.spec);
    const ReplyToOperator reply = ReplyIn(f.Step(launch));
    EXPECT_EQ(reply.status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(reply), HasSubstr(c.says));
    EXPECT_THAT(f.View().runs, IsEmpty());
  }
}

TEST(OperatorActionsTest, AnActionNeedsAReason) {
  EngineFixture f;
  f.StartRun();
  const ReplyToOperator reply =
      ReplyIn(f.Act(OperatorAction::kRestart, /*reason=*/""));
  EXPECT_EQ(reply.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(f.Run().state.phase, RunPhase::kRunning);
}

TEST(OperatorActionsTest, AnUnknownRunIsNotFound) {
  EngineFixture f;
  EXPECT_EQ(ReplyIn(f.Act(OperatorAction::kStop)).status.code(),
            absl::StatusCode::kNotFound);
}

TEST(OperatorActionsTest, ACheckpointAgreesOnAStepOnce) {
  EngineFixture f;
  f.StartRun();
  const ReplyToOperator first = ReplyIn(f.Act(OperatorAction::kCheckpoint));
  ASSERT_TRUE(first.status.ok());
  EXPECT_GT(first.step, Step{0});

  // Another person wants one, too: it is the same.
  EXPECT_EQ(ReplyIn(f.Act(OperatorAction::kCheckpoint)).step, first.step);
  EXPECT_EQ(f.Run().state.save_seq, 1U);
}

TEST(OperatorActionsTest, OnlyARunningRunCanSave) {
  EngineFixture f;
  f.Launch();
  EXPECT_EQ(ReplyIn(f.Act(OperatorAction::kCheckpoint)).status.code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(OperatorActionsTest, TheOrderItsAuditEntryAndItsStateAreOneCommit) {
  EngineFixture f;
  f.StartRun();

  const Outcome outcome = f.Act(OperatorAction::kRestart, "new driver", "q7");

  const auto audit = ChangesOf<AuditEntry>(outcome);
  ASSERT_THAT(audit, SizeIs(1));
  EXPECT_EQ(audit[0].actor, "ada");
  EXPECT_EQ(audit[0].action, "restart");
  EXPECT_EQ(audit[0].reason, "new driver");
  EXPECT_EQ(audit[0].outcome, "accepted");
  EXPECT_EQ(audit[0].request_id, "q7");
  EXPECT_THAT(ChangesOf<RequestDone>(outcome), SizeIs(1));
  EXPECT_EQ(ChangesOf<RunState>(outcome).back().phase, RunPhase::kStopping);
}

TEST(OperatorActionsTest, AnOrderDecidedByAnOldPictureIsRefused) {
  EngineFixture f;
  f.StartRun();
  ActionRequested act;
  act.request_id = "old";
  act.actor = "ada";
  act.run = "gpt";
  act.action = OperatorAction::kRestart;
  act.reason = "why";
  act.seen_attempt = AttemptId{7};
  const ReplyToOperator other_attempt = ReplyIn(f.Step(act));
  EXPECT_EQ(other_attempt.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other_attempt.status.message()),
              HasSubstr("nothing was done"));
  act.seen_attempt = AttemptId{1};
  act.seen_incidents = 3;
  EXPECT_EQ(ReplyIn(f.Step(act)).status.code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(f.Run().state.phase, RunPhase::kRunning);
  act.seen_incidents = 0;
  EXPECT_TRUE(ReplyIn(f.Step(act)).status.ok());
  EXPECT_EQ(f.Run().state.phase, RunPhase::kStopping);
}

TEST(OperatorActionsTest, QuarantineKeepsANodeOutAndReleaseClearsIt) {
  EngineFixture f;
  f.Connect("a");
  ActionRequested act;
  act.actor = "ada";
  act.reason = "fan";
  act.node = "a";
  act.action = OperatorAction::kQuarantine;

  const Outcome outcome = f.Step(act);

  ASSERT_THAT(ChangesOf<NodeRecord>(outcome), SizeIs(1));
  EXPECT_TRUE(ChangesOf<NodeRecord>(outcome)[0].is_quarantined);
  EXPECT_EQ(f.View().nodes[0].status, "quarantined");
  EXPECT_THAT(f.View().nodes[0].quarantine_reason, HasSubstr("fan"));
  act.action = OperatorAction::kRelease;
  f.Step(act);
  EXPECT_EQ(f.View().nodes[0].status, "connected");
  act.node = "nowhere";
  EXPECT_EQ(ReplyIn(f.Step(act)).status.code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace steadyrun
