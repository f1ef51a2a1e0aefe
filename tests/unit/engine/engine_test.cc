#include "server/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/engine/engine_fixture.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

// --- Latency: what can be decided leaves in the same call.

TEST(EngineTest, TheStopLeavesWithTheReportOfTheCrash) {
  EngineFixture f;
  f.StartRun();

  const Outcome outcome = f.Tell("a", f.Exit(0, 9));

  EXPECT_THAT(CommandIds(outcome), ElementsAre("gpt/2/stop/a", "gpt/2/stop/b"));
  const auto states = ChangesOf<RunState>(outcome);
  ASSERT_FALSE(states.empty());
  EXPECT_EQ(states.back().phase, RunPhase::kStopping);
  EXPECT_EQ(states.back().restarts.size(), 1U);
  EXPECT_THAT(ChangesOf<Incident>(outcome), SizeIs(1));
  EXPECT_THAT(ChangesOf<RankFailed>(outcome), SizeIs(1));
}

TEST(EngineTest, TheStartLeavesWithTheLastConfirmation) {
  EngineFixture f;
  f.StartRun();
  f.Tell("a", f.Exit(0, 9));
  f.RunOn("a").floor = AttemptId{2};
  f.RunOn("a").ranks.clear();
  EXPECT_THAT(CommandIds(f.Beat("a")), IsEmpty());
  f.RunOn("b").floor = AttemptId{2};
  f.RunOn("b").ranks.clear();

  const Outcome outcome = f.Beat("b");

  EXPECT_THAT(CommandIds(outcome),
              ElementsAre("gpt/2/start/a", "gpt/2/start/b"));
  EXPECT_EQ(ChangesOf<RunState>(outcome).back().phase, RunPhase::kStarting);
}

// --- Acknowledgement.

TEST(EngineTest, ABlockIsAckedWithItsRow) {
  EngineFixture f;
  f.StartRun();

  const Outcome first = f.Tell("a", f.Block(0, 1));
  EXPECT_THAT(EffectsOf<AckReports>(first), IsEmpty());
  EXPECT_THAT(ChangesOf<NodeCursor>(first), IsEmpty());

  const Outcome second = f.Tell("b", f.Block(1, 1));
  EXPECT_THAT(ChangesOf<StepRow>(second), SizeIs(1));
  EXPECT_THAT(EffectsOf<AckReports>(second), SizeIs(2));
  EXPECT_THAT(ChangesOf<NodeCursor>(second), SizeIs(2));
}

TEST(EngineTest, ARowOfAHungRankClosesAfterASecondAndIsAcked) {
  EngineFixture f;
  f.StartRun();
  f.Tell("a", f.Block(0, 1));
  f.Pass(milliseconds(900));
  EXPECT_THAT(ChangesOf<StepRow>(f.Tick()), IsEmpty());
  f.Pass(milliseconds(100));

  const Outcome outcome = f.Tick();

  ASSERT_THAT(ChangesOf<StepRow>(outcome), SizeIs(1));
  EXPECT_FALSE(ChangesOf<StepRow>(outcome)[0].is_complete);
  EXPECT_THAT(EffectsOf<AckReports>(outcome), SizeIs(1));
}

TEST(EngineTest, ReportsSentAgainAreNotAppliedAgain) {
  EngineFixture f;
  f.StartRun();
  f.MakeStep(1);
  f.Seq("a") -= 1;

  const Outcome outcome = f.Tell("a", f.Block(0, 1));

  EXPECT_THAT(outcome.changes, IsEmpty());
  f.Pass(seconds(2));
  EXPECT_THAT(ChangesOf<StepRow>(f.Tick()), IsEmpty());
}

TEST(EngineTest, ReportsOfAnOlderAttemptAreAckedAndIgnored) {
  EngineFixture f;
  f.StartRun(1);
  f.Tell("a", f.Exit(0, 9));
  for (const std::string node : {"a", "b"}) {
    f.RunOn(node).floor = AttemptId{2};
    f.RunOn(node).ranks.clear();
    f.Beat(node);
  }
  f.StartRun(2);
  const Step reached = f.Run().state.max_step;

  const Outcome outcome = f.Tell("a", f.Block(0, 50, 1));

  EXPECT_THAT(ChangesOf<StepRow>(outcome), IsEmpty());
  EXPECT_THAT(EffectsOf<AckReports>(outcome), SizeIs(1));
  EXPECT_EQ(f.Run().state.max_step, reached);
  CheckpointShard shard;
  shard.run = "gpt";
  shard.attempt = AttemptId{1};
  shard.step = Step{50};
  shard.rank = Rank{0};
  shard.shards = 1;
  shard.sha256 = "d";
  EXPECT_THAT(ChangesOf<Checkpoint>(f.Tell("a", shard)), IsEmpty());
}

TEST(EngineTest, AReportOfARunNobodyKnowsIsAcked) {
  EngineFixture f;
  f.Connect("a");
  EXPECT_THAT(EffectsOf<AckReports>(f.Tell("a", f.Block(0, 1))), SizeIs(1));
}

// --- Streams.

TEST(EngineTest, WelcomeTellsWhatIsCommitted) {
  Snapshot snapshot = EngineFixture::FirstSnapshot();
  snapshot.server_epoch = 5;
  snapshot.cursors = {{"a", "k:a", ReportSeq{41}}};
  EngineFixture f(snapshot);

  const auto welcomes = EffectsOf<SendWelcome>(f.Connect("a"));

  ASSERT_THAT(welcomes, SizeIs(1));
  EXPECT_EQ(welcomes[0].welcome.server_epoch, 5U);
  EXPECT_EQ(welcomes[0].welcome.resume_after, ReportSeq{41});
}

TEST(EngineTest, AnAgentThatObeysANewerServerIsTurnedAway) {
  EngineFixture f;
  Hello hello;
  hello.state.node = "a";
  hello.max_server_epoch = 2;

  const Outcome outcome = f.Step(AgentConnected{SessionId{1}, hello});

  const auto closed = EffectsOf<CloseSession>(outcome);
  ASSERT_THAT(closed, SizeIs(1));
  EXPECT_EQ(closed[0].status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(EffectsOf<SendWelcome>(outcome), IsEmpty());
  EXPECT_THAT(EffectsOf<Page>(outcome), SizeIs(1));
  EXPECT_EQ(f.View().sessions, 0U);
}

TEST(EngineTest, ANewerStreamEndsTheOlder) {
  EngineFixture f;
  f.Connect("a");
  const SessionId old = f.Session("a");

  const auto closed = EffectsOf<CloseSession>(f.Connect("a"));

  ASSERT_THAT(closed, SizeIs(1));
  EXPECT_EQ(closed[0].session, old);
  EXPECT_EQ(closed[0].status.code(), absl::StatusCode::kAborted);
}

TEST(EngineTest, CommandsAreDerivedAgainOnANewStream) {
  EngineFixture f;
  f.StartRun();
  f.Tell("a", f.Exit(0, 9));

  EXPECT_THAT(CommandIds(f.Connect("b")), ElementsAre("gpt/2/stop/b"));
}

TEST(EngineTest, TheSameCommandIsSaidAgainAfterASecondNotBefore) {
  EngineFixture f;
  f.StartRun();
  f.Tell("a", f.Exit(0, 9));
  f.Pass(milliseconds(500));
  EXPECT_THAT(CommandIds(f.Beat("b")), IsEmpty());
  f.Pass(milliseconds(500));
  EXPECT_THAT(CommandIds(f.Beat("b")), ElementsAre("gpt/2/stop/b"));
}

// --- What is stored.

TEST(EngineTest, StepsAreStoredAtMostOnceASecondInTheRunsState) {
  EngineFixture f;
  f.StartRun();
  f.Pass(seconds(2));
  f.MakeStep(1);
  int stored = 0;
  for (int step = 2; step < 12; ++step) {
    f.Pass(milliseconds(100));
    stored += static_cast<int>(ChangesOf<RunState>(f.MakeStep(step)).size());
  }
  EXPECT_LE(stored, 2);
}

TEST(EngineTest, EqualEventsGiveEqualOutcomes) {
  const auto replay = [] {
    EngineFixture f;
    f.StartRun();
    std::string text;
    const auto add = [&text](const Outcome& outcome) {
      for (const std::string& line : outcome.log) text += line + "\n";
      for (const std::string& id : CommandIds(outcome)) text += id + "\n";
    };
    for (int step = 1; step < 30; ++step) add(f.MakeStep(step));
    add(f.Tell("b", f.Exit(1, 11)));
    for (int i = 0; i < 50; ++i) {
      f.Pass(milliseconds(100));
      add(f.Tick());
    }
    return text;
  };
  EXPECT_EQ(replay(), replay());
}

// --- Ends.

TEST(EngineTest, LastWordsAfterTheEndStillCount) {
  EngineFixture f;
  f.StartRun();
  for (int step = 1; step < 99; ++step) f.MakeStep(step);
  f.Tell("a", f.Block(0, 99));
  // Heartbeats show the end before the reports of it arrive.
  for (const std::string node : {"a", "b"}) {
    RankState& rank = f.RunOn(node).ranks[0];
    rank.life = RankLife::kExited;
    rank.step = Step{99};
    f.Beat(node);
  }
  ASSERT_EQ(f.Run().state.phase, RunPhase::kCompleted);

  const Outcome row = f.Tell("b", f.Block(1, 99));
  EXPECT_THAT(ChangesOf<StepRow>(row), SizeIs(1));
  f.Tell("b", RankFinished{"gpt", AttemptId{1}, Rank{1}, Step{99}, "beef"});
  EXPECT_EQ(f.Run().state.finished.at(1), "beef");
}

// Only one rank of an unchanged code prints, and not its last step: the others
// end without having told of any.
TEST(EngineTest, AFollowedRunEndsWhenItsRanksHaveEndedWell) {
  EngineFixture f;
  f.log_format = "auto";
  f.StartRun();
  for (int step = 1; step <= 90; ++step) f.Tell("a", f.Block(0, step));
  f.Tell("a", f.Exit(0, 0));
  ASSERT_EQ(f.Run().state.phase, RunPhase::kRunning);
  for (int i = 0; i < 5; ++i) {
    f.Pass(seconds(1));
    f.Beat("a");
    f.Beat("b");
    f.Tick();
  }

  f.Tell("b", f.Exit(1, 0));

  EXPECT_EQ(f.Run().state.phase, RunPhase::kCompleted);
  EXPECT_EQ(f.Run().state.max_step, Step{90});
}

// A node that was cut off while the run made its last steps without it: its
// blocks, still waiting for their rows to close, and its last word come in one
// message, after a heartbeat that tells of an end but of no step.
TEST(EngineTest, ACompletedRunHasDoneTheStepsItsRanksHaveDone) {
  EngineFixture f;
  f.StartRun();
  for (int step = 1; step <= 100; ++step) f.Tell("a", f.Block(0, step));
  for (int i = 0; i < 15; ++i) {
    f.Pass(milliseconds(100));
    f.Beat("a");
    f.Tick();
  }
  f.Tell("a", RankFinished{"gpt", AttemptId{1}, Rank{0}, Step{100}, "beef"});
  f.Tell("a", f.Exit(0, 0));
  RankState& rank = f.RunOn("b").ranks[0];
  rank.life = RankLife::kExited;
  f.Beat("b");
  ASSERT_EQ(f.Run().state.phase, RunPhase::kRunning);

  for (int step = 1; step <= 100; ++step) f.Tell("b", f.Block(1, step));
  f.Tell("b", RankFinished{"gpt", AttemptId{1}, Rank{1}, Step{100}, "beef"});

  EXPECT_EQ(f.Run().state.phase, RunPhase::kCompleted);
  EXPECT_EQ(f.Run().state.attempt_step, Step{100});
  EXPECT_EQ(f.Run().state.max_step, Step{100});
}

TEST(EngineTest, OneRankEndingEarlyIsNoEnd) {
  EngineFixture f;
  f.StartRun();
  f.Tell("a", f.Exit(0, 0));
  EXPECT_EQ(f.Run().state.phase, RunPhase::kRunning);
  for (int i = 0; i < 105; ++i) {
    f.Pass(milliseconds(100));
    f.Beat("b");
    f.Tick();
  }
  EXPECT_EQ(f.Run().state.phase, RunPhase::kStopping);
}

// --- Modes.

TEST(EngineTest, ObservedIncidentsAreRecordedAndNothingIsDone) {
  EngineFixture f;
  f.Connect("a");
  f.Connect("b");
  LaunchRequested launch;
  launch.spec.run = "gpt";
  launch.spec.argv = {"train"};
  launch.spec.nodes = 2;
  launch.spec.policy_toml = "[incident.crash]\nmode = \"observe\"\n";
  f.Step(launch);
  f.StartRun();

  const Outcome outcome = f.Tell("a", f.Exit(0, 9));

  EXPECT_EQ(f.Run().state.phase, RunPhase::kRunning);
  EXPECT_THAT(CommandIds(outcome), IsEmpty());
  EXPECT_THAT(ChangesOf<Incident>(outcome), SizeIs(1));
  const auto decisions = ChangesOf<Decision>(outcome);
  ASSERT_THAT(decisions, SizeIs(1));
  EXPECT_EQ(decisions[0].action, "observe");
  f.Pass(milliseconds(100));
  EXPECT_THAT(ChangesOf<Decision>(f.Tick()), IsEmpty());  // Said once.
}

// --- A store that is older than the cluster.

TEST(EngineTest, AnAttemptNewerThanTheStoreGoesOnUnharmed) {
  EngineFixture f;
  f.StartRun();
  for (const std::string node : {"a", "b"}) {
    NodeRunState& run = f.RunOn(node);
    run.floor = run.started = AttemptId{6};
    run.ranks[0].attempt = AttemptId{6};
    EXPECT_THAT(CommandIds(f.Beat(node)), IsEmpty());
  }
  f.Pass(milliseconds(100));
  const Outcome outcome = f.Tick();

  EXPECT_THAT(CommandIds(outcome), IsEmpty());
  EXPECT_EQ(f.Run().state.attempt, AttemptId{6});
  EXPECT_EQ(f.Run().state.phase, RunPhase::kRunning);
  EXPECT_THAT(EffectsOf<Page>(outcome), SizeIs(1));
  f.MakeStep(77, 6);
  EXPECT_EQ(f.Run().state.max_step, Step{77});
}

TEST(EngineTest, RanksThatAnAgentNoLongerShowsAreACrash) {
  EngineFixture f;
  f.StartRun();
  f.RunOn("b").ranks.clear();
  for (int i = 0; i < 52; ++i) {
    f.Pass(milliseconds(100));
    f.Beat("a");
    f.Beat("b");
    f.Tick();
  }
  EXPECT_NE(f.Run().state.phase, RunPhase::kRunning);
  EXPECT_THAT(f.Run().state.restarts, SizeIs(1));
}

TEST(EngineTest, ASpareThatRunsProcessesOfAnUnknownRunIsNoSpare) {
  EngineFixture f;
  f.Connect("a");
  RankState rank;
  rank.life = RankLife::kAlive;
  f.Node("b").node = "b";
  f.Node("b").boot_id = "k:b";
  f.Node("b").runs = {{"other", AttemptId{1}, AttemptId{1}, {rank}}};
  f.Connect("b");

  f.Launch();

  EXPECT_EQ(f.Run().state.phase, RunPhase::kPlacing);
  EXPECT_EQ(f.View().nodes[1].serving_run, "other");
}

TEST(EngineTest, HasWhatTheFleetsRowShows) {
  EngineFixture f;
  f.StartRun();
  for (int step = 1; step < 100; ++step) {
    f.Pass(std::chrono::seconds(2));
    f.MakeStep(step);
    f.Tick();
  }
  const RunView run = f.Run();
  EXPECT_EQ(run.policy_mode, "act");
  EXPECT_THAT(run.loss_line, SizeIs(testing::Le(60U)));
  EXPECT_THAT(run.loss_line, SizeIs(testing::Ge(30U)));
  EXPECT_THAT(run.loss_line, testing::Each(1.0F));
  EXPECT_GT(run.goodput, 0.9);
  EXPECT_GE(run.goodput_over, std::chrono::seconds(198));
}

// The page of a halt may die with the service before every rank is gone.
TEST(EngineTest, ARestartWhileARunIsStoppedToHaltRepeatsThePage) {
  Snapshot snapshot = EngineFixture::FirstSnapshot();
  {
    EngineFixture before;
    before.StartRun();
    snapshot.runs = {before.Run().state};
  }
  snapshot.server_epoch = 2;
  snapshot.runs[0].phase = RunPhase::kStopping;
  snapshot.runs[0].after_stop = AfterStop::kHalt;
  snapshot.runs[0].phase_reason = "halts: nan repeats";
  EngineFixture f(snapshot);

  const auto pages = EffectsOf<Page>(f.Tick());

  ASSERT_THAT(pages, SizeIs(1));
  EXPECT_THAT(pages[0].text, HasSubstr("halts: nan repeats"));
  EXPECT_THAT(EffectsOf<Page>(f.Tick()), IsEmpty());
}

}  // namespace
}  // namespace steadyrun
