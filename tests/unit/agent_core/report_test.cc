#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

StepsRead Block(std::int64_t step) {
  StepBlock block;
  block.run = "run";
  block.attempt = AttemptId{1};
  block.step = steadyrun::Step{step};
  block.ranks = {0};
  return {block};
}

std::vector<std::uint64_t> Seqs(const CoreRig& rig) {
  std::vector<std::uint64_t> seqs;
  for (const AppendReport& append : rig.All<AppendReport>()) {
    seqs.push_back(append.report.seq.value);
  }
  return seqs;
}

TEST(ReportTest, NumbersCountUpWithoutHoles) {
  CoreRig rig;
  for (int i = 0; i < 3; ++i) rig.Step(Block(i));

  EXPECT_THAT(Seqs(rig), ElementsAre(1, 2, 3));
}

TEST(ReportTest, NumbersGoOnAfterTheSpool) {
  CoreRig rig(CoreRig::DefaultOptions(), CoreRig::FreshState(), {},
              ReportSeq{41}, ReportSeq{30});
  rig.Step(Block(0));
  EXPECT_THAT(Seqs(rig), ElementsAre(42));

  rig.Step(StreamOpened{});
  EXPECT_EQ(rig.All<SendHello>().at(0).hello.oldest_seq, ReportSeq{30});
}

// A lost spool loses telemetry, never the order of numbers.
TEST(ReportTest, NumbersGoOnAboveTheBoundWhenTheSpoolIsLost) {
  DurableState durable = CoreRig::FreshState();
  durable.next_seq = ReportSeq{5000};
  CoreRig rig(CoreRig::DefaultOptions(), durable);
  rig.Connect(1, "a", ReportSeq{4321});

  const auto gaps = rig.Reports<Gap>();
  ASSERT_THAT(gaps, SizeIs(1));
  EXPECT_EQ(gaps[0].from, ReportSeq{4322});
  EXPECT_EQ(gaps[0].to, ReportSeq{4999});
  EXPECT_THAT(Seqs(rig), ElementsAre(5000));
}

TEST(ReportTest, SendingResumesAfterWhatTheServerHas) {
  CoreRig rig;
  for (int i = 0; i < 5; ++i) rig.Step(Block(i));
  rig.Clear();

  rig.Connect(1, "a", ReportSeq{3});

  EXPECT_EQ(rig.All<SendReportsFrom>().at(0).after, ReportSeq{3});
  EXPECT_EQ(rig.All<DropReportsThrough>().at(0).seq, ReportSeq{3});
  EXPECT_THAT(rig.Reports<Gap>(), IsEmpty());
}

TEST(ReportTest, WhatARestoredServerLacksIsToldAsAGap) {
  CoreRig rig;
  rig.Connect();
  for (int i = 0; i < 5; ++i) rig.Step(Block(i));
  rig.Step(AckReceived{ReportSeq{4}});
  rig.Clear();

  rig.Connect(2, "a", ReportSeq{1});

  const auto gaps = rig.Reports<Gap>();
  ASSERT_THAT(gaps, SizeIs(1));
  EXPECT_EQ(gaps[0].from, ReportSeq{2});
  EXPECT_EQ(gaps[0].to, ReportSeq{4});
}

TEST(ReportTest, ReportsAreDroppedOnlyThroughTheAck) {
  CoreRig rig;
  rig.Connect();
  for (int i = 0; i < 5; ++i) rig.Step(Block(i));
  rig.Clear();

  rig.Step(AckReceived{ReportSeq{2}});
  rig.Step(AckReceived{ReportSeq{1}});
  rig.Step(AckReceived{ReportSeq{2}});

  ASSERT_THAT(rig.All<DropReportsThrough>(), SizeIs(1));
  EXPECT_EQ(rig.All<DropReportsThrough>()[0].seq, ReportSeq{2});
}

TEST(ReportTest, AnAckOfTheFutureIsIgnored) {
  CoreRig rig;
  rig.Connect();
  rig.Step(Block(0));
  rig.Clear();

  rig.Step(AckReceived{ReportSeq{99}});

  EXPECT_THAT(rig.All<DropReportsThrough>(), IsEmpty());
}

TEST(ReportTest, NumbersJumpOverWhatTheServerHas) {
  CoreRig rig;
  rig.Connect(1, "a", ReportSeq{100});

  rig.Step(Block(0));

  EXPECT_THAT(Seqs(rig), ElementsAre(101));
}

TEST(ReportTest, AnExitIsReportedOnceWithTheLastStep) {
  CoreRig rig;
  rig.StartRun();
  rig.Observe(AttemptId{1}, 0, 17);
  rig.Clear();

  rig.Gone(AttemptId{1}, 0, {.code = 1});
  rig.Gone(AttemptId{1}, 0, {.code = 1});

  const auto exits = rig.Reports<RankExited>();
  ASSERT_THAT(exits, SizeIs(1));
  EXPECT_EQ(exits[0].step, steadyrun::Step{17});
  EXPECT_EQ(exits[0].exit.code, 1);
}

TEST(ReportTest, HeartbeatsKeepTheWelcomesPace) {
  CoreRig rig;
  rig.Step(StreamOpened{});
  Welcome welcome;
  welcome.server_epoch = 1;
  welcome.heartbeat_interval = milliseconds(200);
  rig.Step(WelcomeReceived{welcome});
  rig.PersistAll();
  rig.Clear();

  for (int i = 0; i < 20; ++i) rig.Tick(milliseconds(50));

  EXPECT_THAT(rig.All<SendHeartbeat>(), SizeIs(5));
}

TEST(ReportTest, AHeartbeatFollowsAnExitAtOnceAndAfterItsReport) {
  CoreRig rig;
  rig.StartRun();

  rig.Gone(AttemptId{1}, 0, {.code = 1});

  ASSERT_THAT(rig.effects, SizeIs(2));
  EXPECT_TRUE(std::holds_alternative<AppendReport>(rig.effects[0]));
  const auto* beat = std::get_if<SendHeartbeat>(&rig.effects[1]);
  ASSERT_NE(beat, nullptr);
  EXPECT_EQ(beat->state.runs[0].ranks[0].life, RankLife::kExited);
}

TEST(ReportTest, AHeartbeatFollowsASpawnAndANewFloorAtOnce) {
  CoreRig rig;
  rig.Connect();
  rig.Clear();
  rig.Send(rig.Stop(AttemptId{1}));
  rig.PersistAll();
  EXPECT_THAT(rig.All<SendHeartbeat>(), SizeIs(1));

  rig.Send(rig.Start(AttemptId{1}, 1));
  rig.PersistAll();
  rig.Clear();
  rig.Spawned(AttemptId{1}, 0);
  EXPECT_THAT(rig.All<SendHeartbeat>(), SizeIs(1));
}

TEST(ReportTest, NothingIsSentBeforeTheWelcome) {
  CoreRig rig;
  rig.Step(StreamOpened{});
  rig.Tick(seconds(10));

  EXPECT_THAT(rig.All<SendHeartbeat>(), IsEmpty());
  EXPECT_THAT(rig.All<SendReportsFrom>(), IsEmpty());
}

TEST(ReportTest, TheHeartbeatCarriesThePortAndTheSpool) {
  CoreRig rig;
  rig.Connect();
  rig.Clear();
  rig.core().SetRendezvousPort(40123);
  rig.Step(SpoolStateChanged{.spooled = 7, .dropped = 2, .is_full = true});

  const auto beats = rig.All<SendHeartbeat>();
  ASSERT_THAT(beats, SizeIs(1));
  EXPECT_EQ(beats[0].state.rendezvous_port, 40123);
  EXPECT_EQ(beats[0].state.spooled_reports, 7u);
  EXPECT_EQ(beats[0].state.dropped_reports, 2u);
  EXPECT_TRUE(beats[0].state.spool_full);
}

TEST(ReportTest, AnObservationOfAnUnknownRankIsIgnored) {
  CoreRig rig;
  rig.Connect();
  rig.Observe(AttemptId{1}, 0, 5);

  EXPECT_THAT(rig.State().runs, IsEmpty());
}

// The exit's own time is by a wall clock, which people may set: it is taken
// within what the monotonic clock allows.
TEST(ReportTest, AHeartbeatTellsHowLongAgoARankEnded) {
  struct Case {
    std::int64_t ended_ms_ago;
    Duration age;
  };
  for (const Case& test :
       {Case{40, milliseconds(40)}, Case{-5000, milliseconds(0)},
        Case{3'600'000, seconds(2)}}) {
    CoreRig rig;
    rig.StartRun();
    rig.Observe(AttemptId{1}, 0, 5);
    rig.Advance(seconds(2));  // Since its last sign of life.
    RankExited exit;
    exit.run = "run";
    exit.attempt = AttemptId{1};
    exit.exit.signal = 9;
    exit.rank = Rank{0};
    exit.exit_unix_ms = ToUnixMillis(rig.now().wall) - test.ended_ms_ago;

    rig.Step(RankGone{exit});

    EXPECT_EQ(rig.core().State(rig.now()).runs.at(0).ranks.at(0).exit_age,
              test.age)
        << test.ended_ms_ago;
  }
}

}  // namespace
}  // namespace steadyrun::agent
