// An operator's hold, as the engine's callers see it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/engine/engine_fixture.h"

namespace steadyrun {
namespace {

using std::chrono::seconds;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

ReplyToOperator ReplyIn(const Outcome& outcome) {
  const auto replies = EffectsOf<ReplyToOperator>(outcome);
  return replies.size() == 1 ? replies[0] : ReplyToOperator{};
}

Incident NewestIncident(const Outcome& outcome) {
  const auto incidents = ChangesOf<Incident>(outcome);
  return incidents.empty() ? Incident{} : incidents.back();
}

TEST(EngineHoldTest, AFaultPagesAndNothingLeaves) {
  EngineFixture f;
  f.StartRun();
  EXPECT_TRUE(ReplyIn(f.Act(OperatorAction::kHold, "the switch")).status.ok());

  const Outcome crash = f.Tell("b", f.Exit(1, 9));

  EXPECT_THAT(CommandIds(crash), IsEmpty());
  EXPECT_EQ(NewestIncident(crash).remediation, "held");
  const auto pages = EffectsOf<Page>(crash);
  ASSERT_THAT(pages, SizeIs(1));
  EXPECT_EQ(pages[0].incident, 1);
  EXPECT_THAT(pages[0].text, HasSubstr("held by ada: the switch"));
  const auto decisions = ChangesOf<Decision>(crash);
  ASSERT_THAT(decisions, SizeIs(1));
  EXPECT_EQ(decisions[0].action, "held");
  EXPECT_EQ(decisions[0].incident, 1);
  // And not again on each tick.
  for (int i = 0; i < 20; ++i) {
    f.Pass(seconds(1));
    const Outcome tick = f.Tick();
    EXPECT_THAT(CommandIds(tick), IsEmpty());
    EXPECT_THAT(EffectsOf<Page>(tick), IsEmpty());
  }
  EXPECT_EQ(f.Run().state.phase, RunPhase::kRunning);
  EXPECT_THAT(f.Run().verdict, HasSubstr("Held, with a fault that waits"));
}

TEST(EngineHoldTest, TheReleaseAnswersWhatStillStands) {
  EngineFixture f;
  f.StartRun();
  f.Act(OperatorAction::kHold);
  f.Tell("b", f.Exit(1, 9));

  const Outcome released = f.Act(OperatorAction::kUnhold);

  EXPECT_EQ(f.Run().state.phase, RunPhase::kStopping);
  EXPECT_THAT(CommandIds(released), Contains("gpt/2/stop/a"));
  EXPECT_EQ(NewestIncident(released).remediation, "restart");
  EXPECT_THAT(ChangesOf<AuditEntry>(released), SizeIs(2));  // Ada's, policy's.
}

TEST(EngineHoldTest, AHoldSentTwiceIsCarriedOutOnceAndAnOldPictureIsRefused) {
  EngineFixture f;
  f.StartRun();
  ActionRequested hold;
  hold.request_id = "h";
  hold.actor = "ada";
  hold.run = "gpt";
  hold.action = OperatorAction::kHold;
  hold.reason = "the switch";
  hold.seen_attempt = AttemptId{7};
  EXPECT_EQ(ReplyIn(f.Step(hold)).status.code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(f.Run().state.is_held);

  hold.seen_attempt = AttemptId{1};
  const Outcome first = f.Step(hold);
  ASSERT_THAT(ChangesOf<AuditEntry>(first), SizeIs(1));
  EXPECT_EQ(ChangesOf<AuditEntry>(first)[0].action, "hold");
  EXPECT_EQ(ChangesOf<AuditEntry>(first)[0].outcome, "accepted");
  ASSERT_THAT(ChangesOf<RunState>(first), Not(IsEmpty()));
  EXPECT_TRUE(ChangesOf<RunState>(first).back().is_held);

  const Outcome again = f.Step(hold);
  EXPECT_TRUE(ReplyIn(again).is_duplicate);
  EXPECT_THAT(again.changes, IsEmpty());
}

TEST(EngineHoldTest, ItOutlivesTheService) {
  Snapshot snapshot = EngineFixture::FirstSnapshot();
  {
    EngineFixture before;
    before.StartRun();
    before.Act(OperatorAction::kHold, "the switch");
    const Outcome crash = before.Tell("b", before.Exit(1, 9));
    snapshot.runs = {before.Run().state};
    snapshot.open_incidents = {NewestIncident(crash)};
    snapshot.server_epoch = 2;
  }
  EngineFixture f(snapshot);
  f.RunOn("a").floor = f.RunOn("b").floor = AttemptId{1};
  f.RunOn("a").started = f.RunOn("b").started = AttemptId{1};
  for (const std::string node : {"a", "b"}) {
    RankState rank;
    rank.rank = Rank{node == "a" ? 0 : 1};
    rank.attempt = AttemptId{1};
    rank.step = Step{0};
    rank.life = node == "a" ? RankLife::kAlive : RankLife::kExited;
    rank.exit.signal = node == "a" ? 0 : 9;
    f.RunOn(node).ranks = {rank};
    f.Connect(node);
  }
  for (int i = 0; i < 100; ++i) {
    f.Pass(std::chrono::milliseconds(100));
    for (const std::string node : {"a", "b"}) {
      EXPECT_THAT(CommandIds(f.Beat(node)), IsEmpty());
    }
    EXPECT_THAT(CommandIds(f.Tick()), IsEmpty());
  }
  EXPECT_EQ(f.Run().state.phase, RunPhase::kRunning);
  EXPECT_EQ(f.Run().state.hold_reason, "held by ada: the switch");

  const Outcome released = f.Act(OperatorAction::kUnhold);
  EXPECT_EQ(f.Run().state.phase, RunPhase::kStopping);
  EXPECT_THAT(CommandIds(released), Contains("gpt/2/stop/b"));
}

TEST(EngineHoldTest, ACheckpointMayBeOrderedAllTheSame) {
  EngineFixture f;
  f.StartRun();
  f.Act(OperatorAction::kHold);
  const Outcome saved = f.Act(OperatorAction::kCheckpoint);
  EXPECT_TRUE(ReplyIn(saved).status.ok());
  EXPECT_THAT(CommandIds(saved), Each(HasSubstr("/save/")));
  EXPECT_THAT(CommandIds(saved), SizeIs(2));
}

TEST(EngineHoldTest, TheLedgerShowsHeldTimeBeforeTheRelease) {
  EngineFixture f;
  f.StartRun();
  f.Act(OperatorAction::kHold);
  f.Tell("a", f.Exit(0, 9));
  f.Tell("b", f.Exit(1, 9));
  for (int i = 0; i < 3600; ++i) {
    f.Pass(seconds(1));
    for (const std::string node : {"a", "b"}) f.Beat(node);
    f.Tick();
  }
  const RunView run = f.Run();
  EXPECT_EQ(run.state.phase, RunPhase::kRunning);
  EXPECT_GT(run.state.time_seconds.at("held"), 3590);
  EXPECT_LT(run.goodput, 0.01);
  EXPECT_GT(run.goodput_over, seconds(3590));
}

}  // namespace
}  // namespace steadyrun
