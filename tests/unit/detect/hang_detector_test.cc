#include "server/detect/hang_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/detect/training_rig.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Duration kShort = milliseconds(100);

// A rig that has made enough ordinary steps to know them.
TrainingRig Trained(Duration step = kShort, int steps = 60) {
  TrainingRig rig;
  rig.Steps(steps, step);
  return rig;
}

TEST(HangDetectorTest, FindsAHangOfShortStepsWithinFifteenSeconds) {
  TrainingRig rig = Trained();
  rig.frozen = {2};
  rig.EnterPhase(Phase::kBackward);  // The others wait for rank 2.

  const auto took = rig.PassUntilFound(minutes(5));

  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(15));
  EXPECT_GE(*took, seconds(10));
  const Finding& hang = rig.findings.front();
  EXPECT_EQ(hang.kind, IncidentKind::kHang);
  EXPECT_EQ(hang.culprit, (Culprit{"n1", Rank{2}}));
  EXPECT_EQ(hang.step, Step{59});
  EXPECT_EQ(hang.signature, "hang phase=step rank=2");
  EXPECT_THAT(hang.reason,
              HasSubstr("rank 2 on n1 did not arrive: it is in phase step, "
                        "the other 3 in backward"));
  EXPECT_LE(rig.now.mono - hang.onset.mono, seconds(15));
}

TEST(HangDetectorTest, AStoppedProcessNeedsLessPatience) {
  TrainingRig rig = Trained();
  rig.frozen = {1};
  rig.ranks[1].process_state = 'T';

  const auto took = rig.PassUntilFound(minutes(5));

  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(7));
  EXPECT_EQ(rig.findings.front().culprit, (Culprit{"n0", Rank{1}}));
  EXPECT_THAT(rig.findings.front().reason, HasSubstr("state T"));
}

TEST(HangDetectorTest, AStoppedProcessThatGoesOnInTimeIsNoHang) {
  TrainingRig rig = Trained();
  rig.ranks[1].process_state = 'T';
  rig.Pass(seconds(4));
  rig.ranks[1].process_state = 'R';
  rig.Pass(milliseconds(500));
  rig.Steps(100, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(HangDetectorTest, ASlowFirstStepIsNoHang) {
  TrainingRig rig;
  rig.Pass(seconds(580));
  rig.CompleteStep(580);
  rig.Steps(20, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

// Trainers name the parts of the first step as they do of all others.
TEST(HangDetectorTest, ThePartsOfASlowFirstStepAreNoHang) {
  TrainingRig rig;
  for (const Phase phase : {Phase::kData, Phase::kForward, Phase::kBackward,
                            Phase::kOptimizer, Phase::kOther}) {
    rig.EnterPhase(phase);
    rig.Pass(seconds(590));
  }
  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();

  rig.Pass(seconds(20));
  ASSERT_THAT(rig.findings, SizeIs(1));
  EXPECT_EQ(rig.findings[0].kind, IncidentKind::kStartFailed);
}

TEST(HangDetectorTest, AnAttemptThatNeverStepsHasFailedToStart) {
  TrainingRig rig;

  const auto took = rig.PassUntilFound(minutes(20));

  ASSERT_TRUE(took.has_value());
  EXPECT_GE(*took + seconds(5), minutes(10));
  EXPECT_LE(*took, minutes(10) + seconds(2));
  EXPECT_EQ(rig.findings.front().kind, IncidentKind::kStartFailed);
}

TEST(HangDetectorTest, SlowStepsOfTheWarmUpAreNoHang) {
  TrainingRig rig;
  rig.MakeStep(seconds(30));
  rig.MakeStep(seconds(55));  // Compiles for another shape.
  rig.MakeStep(seconds(100));
  rig.Steps(30, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
  // And they are forgotten once ordinary steps are known.
  rig.frozen = {0};
  const auto took = rig.PassUntilFound(minutes(5));
  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(15));
}

// The step times of the attempt before are known, but caches are cold again.
TEST(HangDetectorTest, TheFirstStepsOfALaterAttemptMayBeSlowToo) {
  TrainingRig rig = Trained();
  rig.Restart(AttemptId{2});
  rig.MakeStep(seconds(40));
  rig.MakeStep(seconds(50));
  rig.MakeStep(seconds(30));
  rig.Steps(10, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(HangDetectorTest, JudgesNothingBeforeItHasSettled) {
  TrainingRig rig = Trained();
  rig.Pass(seconds(9));
  rig.watch.Settle(rig.now.mono);
  rig.Pass(milliseconds(2900));
  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();

  rig.Pass(milliseconds(200));
  EXPECT_THAT(rig.findings, SizeIs(1));
}

TEST(HangDetectorTest, DeclaredPhasesHaveTheirOwnDeadlines) {
  struct Case {
    Phase phase;
    Duration within;
    Duration beyond;
  };
  const Case cases[] = {
      {Phase::kCheckpoint, seconds(290), seconds(303)},
      {Phase::kEvaluation, seconds(590), seconds(603)},
      {Phase::kCompile, seconds(1790), seconds(1803)},
      {Phase::kShutdown, seconds(290), seconds(303)},
      // Parts of a step share its deadline.
      {Phase::kForward, seconds(9), seconds(12)},
      {Phase::kRollout, seconds(9), seconds(12)},
      {Phase::kOther, seconds(9), seconds(12)},
  };
  for (const Case& test : cases) {
    TrainingRig rig = Trained();
    rig.EnterPhase(test.phase);
    rig.Pass(test.within);
    EXPECT_THAT(rig.findings, IsEmpty()) << PhaseName(test.phase);
    rig.Pass(test.beyond - test.within);
    EXPECT_THAT(rig.findings, SizeIs(1)) << PhaseName(test.phase);
  }
}

TEST(HangDetectorTest, OneRankInALongPhaseHoldsTheOthersVerdict) {
  TrainingRig rig = Trained();
  rig.EnterPhase(Phase::kBackward);
  rig.ranks[0].phase = Phase::kEvaluation;  // Rank 0 evaluates alone.
  ++rig.ranks[0].phase_seq;
  rig.Pass(minutes(9));

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(HangDetectorTest, LongStepsHaveLongDeadlines) {
  TrainingRig rig = Trained(seconds(30), 30);
  rig.Pass(seconds(149));
  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();

  EXPECT_TRUE(rig.PassUntilFound(seconds(30)).has_value());
}

// A pause of the machine must not blunt the detector for the next 500 steps.
TEST(HangDetectorTest, OnePauseDoesNotBluntIt) {
  TrainingRig rig = Trained(kShort, 200);
  rig.MakeStep(seconds(4));
  rig.Steps(100, kShort);
  rig.frozen = {3};

  const auto took = rig.PassUntilFound(minutes(5));

  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(15));
}

TEST(HangDetectorTest, AnUndeclaredSaveItHasSeenIsNoHang) {
  TrainingRig rig = Trained(kShort, 100);
  for (int i = 0; i < 5; ++i) {
    rig.MakeStep(seconds(9) + seconds(i));  // Grows to 13 s.
    rig.Steps(100, kShort);
  }

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(HangDetectorTest, DeclaredPhasesDoNotTeachItPatience) {
  TrainingRig rig = Trained(kShort, 60);
  for (int i = 0; i < 10; ++i) {
    rig.EnterPhase(Phase::kCheckpoint);
    rig.Pass(seconds(60));
    rig.EnterPhase(Phase::kStep);
    rig.Pass(kShort);
    rig.CompleteStep(60.1);  // The trainer counts the save into the step.
    rig.Steps(20, kShort);
  }
  rig.frozen = {3};

  const auto took = rig.PassUntilFound(minutes(5));

  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(15));
}

TEST(HangDetectorTest, AStepThatHeldALongPhaseIsNoMeasureOfAStep) {
  HangDetector detector{HangOptions()};
  WatchedAttempt attempt;
  attempt.run = "run";
  attempt.attempt = AttemptId{1};
  attempt.rank_nodes = {"n0"};
  MonoTime at{seconds(1)};
  detector.Begin(attempt, at);
  RunProgress progress;
  progress.Begin(attempt, at);
  RankState rank;
  rank.rank = Rank{0};
  rank.attempt = AttemptId{1};
  rank.life = RankLife::kAlive;
  rank.phase = Phase::kStep;
  for (int step = 0; step < 300; ++step) {
    if (step % 50 == 49) {
      rank.phase = Phase::kCheckpoint;
      detector.ObserveRank(rank, at);
      rank.phase = Phase::kStep;
    }
    detector.ObserveStep(Step{step}, step % 50 == 49 ? 120.0 : 0.1, at);
    rank.step = Step{step};
    progress.Observe(rank, at);
  }

  EXPECT_EQ(detector.DeadlineNow(progress), seconds(10));
}

TEST(HangDetectorTest, UndeclaredWorkOfAllRanksGetsMoreTime) {
  TrainingRig idle = Trained();
  EXPECT_LE(idle.PassUntilFound(minutes(2)).value_or(minutes(2)), seconds(12));

  TrainingRig busy = Trained();
  busy.busy = {0, 1, 2, 3};
  busy.Pass(seconds(28));
  EXPECT_THAT(busy.findings, IsEmpty()) << busy.Story();
  EXPECT_TRUE(busy.PassUntilFound(seconds(5)).has_value());

  // One that does not compute is enough.
  TrainingRig mixed = Trained();
  mixed.busy = {0, 1, 2};
  EXPECT_LE(mixed.PassUntilFound(minutes(2)).value_or(minutes(2)), seconds(12));
}

// Of steps of 12 s the deadline is a minute: three of them would be needless.
TEST(HangDetectorTest, ThreeDeadlinesOfLongStepsAreTooManyForUndeclaredWork) {
  TrainingRig busy = Trained(seconds(12));
  busy.busy = {0, 1, 2, 3};

  const auto took = busy.PassUntilFound(minutes(10));

  ASSERT_TRUE(took.has_value());
  EXPECT_GE(*took, seconds(80));
  EXPECT_LE(*took, seconds(100));
}

TEST(HangDetectorTest, IsNotAskedWhileANodeIsSilent) {
  TrainingRig rig = Trained();
  rig.cut = {"n0"};
  rig.frozen = {0, 1, 2, 3};
  rig.Pass(minutes(2));

  EXPECT_FALSE(rig.First(IncidentKind::kHang).has_value()) << rig.Story();
}

TEST(HangDetectorTest, GivesTheServiceTimeToSettle) {
  TrainingRig rig = Trained();
  // The service was stopped for a minute; heartbeats come back with old ages.
  rig.now.mono += minutes(1);
  rig.now.wall += std::chrono::minutes(1);
  for (MonoTime& advanced : rig.advanced) advanced = rig.now.mono;
  rig.Tick();
  rig.Steps(50, kShort);

  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();
}

TEST(HangDetectorTest, SaysOnceThatItHangsAndOnceThatItIsOver) {
  TrainingRig rig = Trained();
  rig.Pass(minutes(3));
  EXPECT_THAT(rig.findings, SizeIs(1)) << rig.Story();
  EXPECT_THAT(rig.cleared, IsEmpty());

  rig.Steps(30, kShort);
  ASSERT_THAT(rig.cleared, SizeIs(1));
  EXPECT_EQ(rig.cleared.front().kind, IncidentKind::kHang);

  rig.Pass(minutes(5));
  EXPECT_THAT(rig.findings, SizeIs(2));
}

TEST(HangDetectorTest, ATrainerThatOneRankReportsForIsWatched) {
  TrainingRig rig;
  for (const int silent : {1, 2, 3}) rig.frozen.insert(silent);
  for (int i = 0; i < 60; ++i) {
    rig.Pass(kShort);
    rig.step = rig.step.Next();
    rig.ranks[0].step = rig.step;
    rig.ranks[0].phase = Phase::kStep;
    rig.Advance(0);
    StepRow row;
    row.run = "run";
    row.attempt = AttemptId{1};
    row.step = rig.step;
    row.step_seconds_max = 0;  // The log has no step time.
    rig.watch.ObserveRow(row, rig.now);
  }
  EXPECT_THAT(rig.findings, IsEmpty()) << rig.Story();

  const auto took = rig.PassUntilFound(minutes(15));
  ASSERT_TRUE(took.has_value());
  EXPECT_LE(*took, seconds(15));
}

// After the service restarts it knows no step times and no history.
TEST(HangDetectorTest, AfterARestartOfTheServiceItWaitsLonger) {
  TrainingRig rig = Trained();
  RunWatch fresh{DetectOptions()};
  rig.watch = fresh;
  rig.watch.Begin(rig.attempt, rig.now);
  rig.frozen = {0, 1, 2, 3};

  const auto took = rig.PassUntilFound(minutes(5));

  ASSERT_TRUE(took.has_value());
  EXPECT_GE(*took, seconds(50));
  EXPECT_LE(*took, seconds(65));
}

struct Place {
  std::int64_t step;
  Phase phase;
  std::uint64_t phase_seq;
  char state;
  double cpu;  // Share of a core since its last advance.
};

struct LaggardCase {
  const char* what;
  std::vector<Place> ranks;  // Two on each node.
  Culprit culprit;
  const char* why;
};

TEST(FindLaggardTest, NamesWhoDidNotArrive) {
  constexpr auto kB = Phase::kBackward;
  constexpr auto kF = Phase::kForward;
  constexpr auto kD = Phase::kData;
  const LaggardCase cases[] = {
      {"lowest step",
       {{42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {41, kB, 8, 'S', 0}},
       {"n1", Rank{3}},
       "it is at step 41, the other 3 at 42"},
      {"stopped beats lowest step",
       {{42, kB, 9, 'T', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {41, kB, 8, 'S', 0}},
       {"n0", Rank{0}},
       "its process is stopped (state T)"},
      {"both ranks of a node behind",
       {{42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {41, kB, 9, 'S', 0},
        {41, kB, 9, 'S', 0}},
       {"n1", kNoRank},
       "it is at step 41, the other 2 at 42"},
      {"another phase than the majority",
       {{42, kB, 9, 'S', 0},
        {42, kD, 8, 'S', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0}},
       {"n0", Rank{1}},
       "it is in phase data, the other 3 in backward"},
      {"no majority: the earliest in the step",
       {{42, kB, 9, 'S', 0},
        {42, kD, 7, 'S', 0},
        {42, kF, 8, 'S', 0},
        {42, kB, 9, 'S', 0}},
       {"n0", Rank{1}},
       "it is still in phase data"},
      {"the only one that computes",
       {{42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'R', 0.98},
        {42, kB, 9, 'S', 0}},
       {"n1", Rank{2}},
       "it computes while the others wait"},
      {"the only one that does not spin",
       {{42, kB, 9, 'R', 1},
        {42, kB, 9, 'R', 1},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'R', 1}},
       {"n1", Rank{2}},
       "it waits while the others spin"},
      {"fewer phase changes",
       {{42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 8, 'S', 0}},
       {"n1", Rank{3}},
       "it made fewer phase changes than the others"},
      {"all alike",
       {{42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0}},
       {"", kNoRank},
       "all 4 ranks stand at the same place"},
      {"most are behind: nobody is singled out",
       {{42, kB, 9, 'S', 0},
        {41, kB, 9, 'S', 0},
        {41, kB, 9, 'S', 0},
        {41, kB, 9, 'S', 0}},
       {"", kNoRank},
       "all 4 ranks stand at the same place"},
      {"half, over two nodes",
       {{42, kB, 9, 'S', 0},
        {41, kB, 9, 'S', 0},
        {41, kB, 9, 'S', 0},
        {42, kB, 9, 'S', 0}},
       {"", kNoRank},
       "it is at step 41, the other 2 at 42 (2 ranks on several nodes)"},
  };
  for (const LaggardCase& test : cases) {
    WatchedAttempt attempt;
    attempt.run = "run";
    attempt.attempt = AttemptId{1};
    attempt.rank_nodes = {"n0", "n0", "n1", "n1"};
    const MonoTime begin{seconds(100)};
    RunProgress progress;
    progress.Begin(attempt, begin);
    for (const Duration at : {seconds(0), seconds(10)}) {
      for (std::size_t r = 0; r < test.ranks.size(); ++r) {
        const Place& place = test.ranks[r];
        RankState rank;
        rank.rank = Rank{static_cast<std::int32_t>(r)};
        rank.attempt = AttemptId{1};
        rank.life = RankLife::kAlive;
        rank.step = Step{place.step};
        rank.phase = place.phase;
        rank.phase_seq = place.phase_seq;
        rank.process_state = place.state;
        rank.cpu_seconds = place.cpu * ToSeconds(at);
        progress.Observe(rank, begin + at);
      }
    }

    const Laggard laggard = FindLaggard(progress, begin + seconds(10));

    EXPECT_EQ(laggard.culprit, test.culprit) << test.what;
    EXPECT_EQ(laggard.why, test.why) << test.what;
    EXPECT_THAT(laggard.evidence, SizeIs(4)) << test.what;
    if (test.culprit.rank != kNoRank) {
      EXPECT_THAT(laggard.evidence.front(),
                  HasSubstr("rank " + std::to_string(test.culprit.rank.value)))
          << test.what;
    }
  }
}

}  // namespace
}  // namespace steadyrun
