#include "server/detect/silence_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/unit/detect/training_rig.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Duration kShort = milliseconds(100);

TrainingRig Trained(int nodes = 3, Duration step = kShort) {
  TrainingRig rig(nodes, 2);
  rig.Steps(step > seconds(1) ? 30 : 60, step);
  return rig;
}

// The node dies: nobody hears it, and its peers stop in the same step.
void KillNode(TrainingRig& rig, int node) {
  rig.cut.insert(TrainingRig::NodeName(node));
  for (std::size_t r = 0; r < rig.ranks.size(); ++r) {
    rig.frozen.insert(static_cast<int>(r));
  }
}

TEST(SilenceDetectorTest, ALostNodeIsNamedWithinFiveSeconds) {
  TrainingRig rig = Trained();
  KillNode(rig, 1);

  const auto took = rig.PassUntilFound(minutes(2));

  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(4));
  const Finding& lost = rig.findings.front();
  EXPECT_EQ(lost.kind, IncidentKind::kNodeLost);
  EXPECT_EQ(lost.culprit, (Culprit{"n1", kNoRank}));
  EXPECT_EQ(lost.severity, Severity::kCritical);
  EXPECT_TRUE(lost.is_independent);
  EXPECT_THAT(lost.reason, HasSubstr("Node n1 is lost: silent for 3.0 s, and "
                                     "the ranks on other nodes have not "
                                     "advanced for"));
  EXPECT_LE(rig.now.mono - lost.onset.mono, seconds(5));
  rig.Pass(minutes(3));
  EXPECT_THAT(rig.findings, SizeIs(1)) << rig.Story();
}

TEST(SilenceDetectorTest, ASilentAgentOfATrainingNodeIsOnlyAWarning) {
  TrainingRig rig = Trained();
  rig.cut = {"n1"};
  rig.Steps(300, kShort);

  ASSERT_THAT(rig.findings, SizeIs(1)) << rig.Story();
  const Finding& lost = rig.findings.front();
  EXPECT_EQ(lost.kind, IncidentKind::kAgentLost);
  EXPECT_EQ(lost.severity, Severity::kWarning);
  EXPECT_THAT(lost.reason, HasSubstr("but the run went on without it"));

  rig.cut.clear();
  rig.Steps(20, kShort);
  ASSERT_THAT(rig.cleared, SizeIs(1));
  EXPECT_EQ(rig.cleared.front().kind, IncidentKind::kAgentLost);
  EXPECT_EQ(rig.cleared.front().culprit.node, "n1");
}

TEST(SilenceDetectorTest, ShortSilenceIsNothing) {
  TrainingRig rig = Trained();
  rig.cut = {"n1"};
  rig.Steps(24, kShort);
  rig.cut.clear();
  rig.Steps(50, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

// The trap of "silent and not advancing": an agent dead for minutes, and then
// the training pauses for a moment of its own.
TEST(SilenceDetectorTest, APauseLongAfterTheAgentDiedIsNoLostNode) {
  TrainingRig rig = Trained();
  rig.cut = {"n1"};
  rig.Steps(600, kShort);
  rig.Pass(seconds(6));
  rig.Steps(50, kShort);

  EXPECT_THAT(rig.findings, SizeIs(1)) << rig.Story();
  EXPECT_EQ(rig.findings.front().kind, IncidentKind::kAgentLost);
}

TEST(SilenceDetectorTest, ANodeThatDiesLongAfterItsAgentIsLostInTheEnd) {
  TrainingRig rig = Trained();
  rig.cut = {"n1"};
  rig.Steps(600, kShort);
  ASSERT_THAT(rig.findings, SizeIs(1));
  KillNode(rig, 1);
  rig.Pass(seconds(15));

  ASSERT_THAT(rig.findings, SizeIs(2)) << rig.Story();
  EXPECT_EQ(rig.findings.back().kind, IncidentKind::kNodeLost);
  // Hurt since the run stopped, not since the agent died.
  EXPECT_LE(rig.now.mono - rig.findings.back().onset.mono, seconds(16));
}

TEST(SilenceDetectorTest, ACheckpointOfTheOthersIsNoWitness) {
  TrainingRig rig = Trained();
  rig.EnterPhase(Phase::kCheckpoint);
  rig.cut = {"n1"};
  rig.Pass(minutes(4));

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
  // Past the deadline of the phase it is one.
  rig.Pass(minutes(2));
  EXPECT_TRUE(rig.First(IncidentKind::kNodeLost).has_value());
}

TEST(SilenceDetectorTest, LongStepsNeedALongerLook) {
  TrainingRig rig = Trained(3, seconds(8));
  rig.Pass(seconds(1));
  rig.cut = {"n1"};
  rig.Pass(seconds(9));  // Silent for long, but still within one step.
  rig.CompleteStep(10);
  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(SilenceDetectorTest, ExitsElsewhereAreAWitness) {
  TrainingRig rig = Trained();
  KillNode(rig, 2);
  RankExited exit;
  exit.run = "run";
  exit.attempt = AttemptId{1};
  exit.rank = Rank{0};
  exit.exit.code = 1;
  exit.is_secondary = true;
  rig.watch.ObserveExit(exit, rig.now);
  rig.Pass(seconds(4));

  const auto lost = rig.First(IncidentKind::kNodeLost);
  ASSERT_TRUE(lost.has_value()) << rig.Story();
  EXPECT_EQ(lost->culprit.node, "n2");
  EXPECT_THAT(lost->reason, HasSubstr("ranks on n0 ended"));
}

TEST(SilenceDetectorTest, AnExitOnTheSilentNodeItselfIsNoWitness) {
  TrainingRig rig = Trained();
  rig.EnterPhase(Phase::kCheckpoint);  // So that nobody is missed.
  RankExited exit;
  exit.run = "run";
  exit.attempt = AttemptId{1};
  exit.rank = Rank{4};
  exit.exit.code = 1;
  rig.watch.ObserveExit(exit, rig.now);
  rig.cut = {"n2"};
  rig.Pass(seconds(20));

  EXPECT_FALSE(rig.First(IncidentKind::kNodeLost).has_value()) << rig.Story();
}

TEST(SilenceDetectorTest, NothingIsJudgedBeforeItHasSettled) {
  DetectOptions options;
  options.silence.settle = seconds(20);
  TrainingRig rig(3, 2, options);
  rig.Pass(seconds(20));
  rig.Steps(60, kShort);
  rig.hearing.Reset(rig.now.mono);
  KillNode(rig, 1);
  rig.Pass(seconds(19));
  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();

  rig.Pass(seconds(2));
  EXPECT_TRUE(rig.First(IncidentKind::kNodeLost).has_value());
}

TEST(SilenceDetectorTest, LostNodesAreFoundWhileTheAttemptIsBeingStopped) {
  TrainingRig rig = Trained();
  KillNode(rig, 2);
  RankExited exit;
  exit.run = "run";
  exit.attempt = AttemptId{1};
  exit.rank = Rank{0};
  exit.exit.code = 1;
  rig.watch.ObserveExit(exit, rig.now);
  rig.situation.is_live = false;
  rig.situation.is_stopping = true;
  rig.Pass(seconds(4));

  EXPECT_TRUE(rig.First(IncidentKind::kNodeLost).has_value()) << rig.Story();
}

// Found by simulation seeds 1 and 17: nodes cut off within half a second of
// each other are not silent yet when the first one is judged.
TEST(SilenceDetectorTest, AWitnessIsOnlyWorthWhatWasHeardOfIt) {
  TrainingRig rig = Trained(4);
  rig.cut = {"n0"};
  rig.Steps(4, kShort);
  rig.cut = {"n0", "n1", "n2"};
  rig.Steps(200, kShort);

  EXPECT_FALSE(rig.First(IncidentKind::kNodeLost).has_value()) << rig.Story();
}

// Found by simulation seed 257.
TEST(SilenceDetectorTest, ARunThatHasBecomeSlowerIsMeasuredByItsLastSteps) {
  TrainingRig rig = Trained(3, seconds(1));
  rig.Steps(3, milliseconds(3500));
  rig.cut = {"n1"};
  rig.Steps(3, milliseconds(3500));

  EXPECT_FALSE(rig.First(IncidentKind::kNodeLost).has_value()) << rig.Story();
}

// Found by simulation seed 267: the run is complete, and the node whose agent
// is away cannot say so yet.
TEST(SilenceDetectorTest, RanksThatHaveEndedWellAreNoWitness) {
  TrainingRig rig = Trained();
  rig.cut = {"n1"};
  for (RankState& rank : rig.ranks) {
    RankFinished finished;
    finished.run = "run";
    finished.attempt = AttemptId{1};
    finished.rank = rank.rank;
    if (rank.rank < Rank{2} || rank.rank > Rank{3}) {
      rig.watch.ObserveFinished(finished);
    }
    rank.life = RankLife::kExited;
  }
  rig.Pass(seconds(50));

  EXPECT_FALSE(rig.First(IncidentKind::kNodeLost).has_value()) << rig.Story();
}

// Found by simulation seed 1387: the network lets go of what it held back, and
// the first heartbeat of the burst is seconds old.
TEST(SilenceDetectorTest, TheFirstWordAfterAGapIsNoWitness) {
  TrainingRig rig = Trained(2);
  rig.cut = {"n0", "n1"};
  const std::vector<RankState> old_ranks = rig.ranks;
  rig.Steps(38, kShort);
  const std::vector<RankState> new_ranks = std::exchange(rig.ranks, old_ranks);
  rig.Heartbeat("n0");
  rig.Tick();
  rig.ranks = new_ranks;
  rig.cut = {"n1"};
  rig.Steps(20, kShort);

  EXPECT_FALSE(rig.First(IncidentKind::kNodeLost).has_value()) << rig.Story();
}

struct MassCase {
  int nodes;
  int silent;
  bool is_mass;
};

TEST(SilenceDetectorTest, MoreThanHalfSilentMeansThatWeAreDeaf) {
  const MassCase cases[] = {{2, 1, false}, {2, 2, true},  {3, 1, false},
                            {3, 2, true},  {4, 2, false}, {4, 3, true},
                            {4, 4, true}};
  for (const MassCase& test : cases) {
    TrainingRig rig = Trained(test.nodes);
    for (int node = 0; node < test.silent; ++node) KillNode(rig, node);
    rig.Pass(seconds(59));

    EXPECT_EQ(rig.watch.Silence().IsMassSilence(), test.is_mass);
    EXPECT_EQ(rig.findings.empty(), test.is_mass)
        << test.silent << " of " << test.nodes << "\n"
        << rig.Story();
    EXPECT_FALSE(rig.watch.Silence().TakeMassPage(rig.now.mono));
    rig.Pass(seconds(10));
    EXPECT_EQ(rig.watch.Silence().TakeMassPage(rig.now.mono), test.is_mass);
    EXPECT_FALSE(rig.watch.Silence().TakeMassPage(rig.now.mono));
  }
}

TEST(SilenceDetectorTest, MassSilenceThatEndsLeavesNothingBehind) {
  TrainingRig rig = Trained(4);
  rig.cut = {"n0", "n1", "n2", "n3"};
  rig.Pass(seconds(30));
  rig.cut.clear();
  for (MonoTime& advanced : rig.advanced) advanced = rig.now.mono;
  rig.Steps(100, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(SilenceDetectorTest, TheOnlyNodeIsLostAfterAMinuteIfOthersAreHeard) {
  TrainingRig rig = Trained(1);
  KillNode(rig, 0);
  // Spares that serve no run tell that it is not our own ear.
  for (int i = 0; i < 700 && rig.findings.empty(); ++i) {
    rig.hearing.Heard("spare-0", rig.now.mono);
    rig.hearing.Heard("spare-1", rig.now.mono);
    rig.Tick();
  }

  ASSERT_THAT(rig.findings, SizeIs(1));
  EXPECT_EQ(rig.findings.front().kind, IncidentKind::kNodeLost);
  EXPECT_GE(rig.now.mono - rig.findings.front().onset.mono, seconds(60));
}

TEST(SilenceDetectorTest, TheOnlyNodeOfTheFleetIsNeverLost) {
  TrainingRig rig = Trained(1);
  KillNode(rig, 0);
  rig.Pass(seconds(85));

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(SilenceDetectorTest, BeforeTheFirstStepItWaitsTwentySeconds) {
  TrainingRig rig(3, 2);
  KillNode(rig, 1);
  const auto took = rig.PassUntilFound(minutes(2));

  ASSERT_TRUE(took.has_value());
  EXPECT_GE(*took, seconds(19));
  EXPECT_LE(*took, seconds(21));
  EXPECT_EQ(rig.findings.front().kind, IncidentKind::kNodeLost);
}

// The service was stopped (SIGSTOP, swapped out) for longer than any limit.
TEST(SilenceDetectorTest, AnAbsentServiceBlamesNobody) {
  TrainingRig rig = Trained();
  rig.now.mono += minutes(10);
  rig.now.wall += std::chrono::minutes(10);
  for (MonoTime& advanced : rig.advanced) advanced = rig.now.mono;
  // Its first ticks come before the first heartbeats are read.
  rig.cut = {"n0", "n1", "n2"};
  rig.Pass(seconds(2));
  rig.cut.clear();
  for (MonoTime& advanced : rig.advanced) advanced = rig.now.mono;
  rig.Steps(50, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(SilenceDetectorTest, ARestartedServiceGivesEachNodeTimeToComeBack) {
  TrainingRig rig = Trained();
  rig.hearing = NodeHearing(rig.now.mono);
  rig.watch = RunWatch(DetectOptions());
  rig.watch.Begin(rig.attempt, rig.now);
  rig.cut = {"n1"};  // Comes back later than the others.
  rig.Steps(25, kShort);
  rig.cut.clear();
  rig.Steps(50, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(SilenceDetectorTest, AWatchedRunThatGoesOnClearsItsLostNode) {
  TrainingRig rig = Trained();
  KillNode(rig, 1);
  rig.Pass(seconds(5));
  ASSERT_THAT(rig.findings, SizeIs(1));
  rig.cut.clear();
  rig.frozen.clear();
  rig.Steps(20, kShort);

  ASSERT_THAT(rig.cleared, SizeIs(1));
  EXPECT_EQ(rig.cleared.front().kind, IncidentKind::kNodeLost);
}

TEST(NodeHearingTest, LateTicksResetWhatWasHeard) {
  MonoTime now{seconds(100)};
  NodeHearing hearing(now);
  hearing.Heard("a", now);
  EXPECT_FALSE(hearing.Tick(now));
  EXPECT_FALSE(hearing.Tick(now += seconds(2)));
  EXPECT_EQ(hearing.Silence("a", now), seconds(2));
  EXPECT_TRUE(hearing.Tick(now += milliseconds(2001)));
  EXPECT_EQ(hearing.Silence("a", now), seconds(0));
  EXPECT_EQ(hearing.SettlingSince(), now);
}

TEST(NodeHearingTest, NodesGoneForLongDoNotCountAsSilentNow) {
  MonoTime now{seconds(100)};
  NodeHearing hearing(now);
  hearing.Heard("old", now);
  now += seconds(91);
  hearing.Heard("a", now);
  hearing.Heard("b", now);
  now += seconds(5);
  hearing.Heard("b", now);

  EXPECT_EQ(hearing.SilentShare(seconds(3), now), 0.5);
  EXPECT_FALSE(hearing.IsConnected("never"));
  EXPECT_TRUE(hearing.IsConnected("b"));
  hearing.Disconnected("b", now);
  EXPECT_FALSE(hearing.IsConnected("b"));
}

// Reports of a node may come before the first heartbeat of its new stream: it
// is heard, but has not told where its ranks stand.
TEST(SilenceDetectorTest, ANodeThatOnlyReportsIsNoWitness) {
  TrainingRig rig = Trained();
  rig.cut = {"n0", "n1", "n2"};  // Of heartbeats.
  for (int i = 0; i < 100; ++i) {
    rig.hearing.Heard("n0", rig.now.mono);
    rig.hearing.Heard("n2", rig.now.mono);
    rig.Pass(kShort);
  }
  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

}  // namespace
}  // namespace steadyrun
