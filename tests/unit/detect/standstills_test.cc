#include "server/detect/standstills.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>

#include "server/detect/hang_detector.h"
#include "tests/unit/detect/training_rig.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

const std::vector<std::string> kWaiting = {
    "all_reduce (distributed_c10d.py:2501)", "step (train.py:140)"};
const std::vector<std::string> kSpinning = {"spin (train.py:77)",
                                            "step (train.py:140)"};

// Ranks that stand at one place as far as steps and phases tell.
class Stuck {
 public:
  explicit Stuck(int ranks, int ranks_per_node = 2) {
    WatchedAttempt attempt;
    attempt.run = "run";
    attempt.attempt = AttemptId{1};
    for (int r = 0; r < ranks; ++r) {
      attempt.rank_nodes.push_back("n" + std::to_string(r / ranks_per_node));
      RankState rank;
      rank.rank = Rank{r};
      rank.attempt = AttemptId{1};
      rank.life = RankLife::kAlive;
      rank.step = Step{42};
      rank.phase = Phase::kBackward;
      rank.process_state = 'S';
      states.push_back(rank);
    }
    progress.Begin(attempt, kBegin);
  }

  // All `ranks` have entered these of the group.
  Stuck& In(const std::string& group,
            const std::map<int, std::uint64_t>& entered) {
    for (const auto& [rank, number] : entered) {
      states[static_cast<std::size_t>(rank)].collectives.push_back(
          {group, number});
    }
    return *this;
  }
  Stuck& At(int rank, const std::vector<std::string>& stack) {
    states[static_cast<std::size_t>(rank)].stack = stack;
    return *this;
  }
  Stuck& AllAt(const std::vector<std::string>& stack) {
    for (RankState& rank : states) rank.stack = stack;
    return *this;
  }

  Laggard Find() {
    for (const RankState& rank : states) {
      progress.Observe(rank, kBegin + seconds(10));
    }
    return FindLaggard(progress, kBegin + seconds(10));
  }

  static constexpr MonoTime kBegin{seconds(100)};
  std::vector<RankState> states;
  RunProgress progress;
};

TEST(StandstillsTest, TheRankThatDidNotEnterIsNamed) {
  Stuck run(4);
  run.In("dp:0-3", {{0, 812}, {1, 812}, {2, 811}, {3, 812}});
  run.AllAt(kWaiting).At(2, kSpinning);

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit, (Culprit{"n1", Rank{2}}));
  EXPECT_EQ(laggard.why,
            "it has not entered collective 812 of dp:0-3, in which 3 ranks "
            "wait");
  ASSERT_THAT(laggard.evidence, SizeIs(7));
  EXPECT_THAT(laggard.evidence[0], StartsWith("rank 2 on n1: step 42"));
  EXPECT_EQ(laggard.evidence[1],
            "collective dp:0-3: ranks 0, 1, 3 have entered 812, rank 2 has "
            "entered 811");
  EXPECT_EQ(laggard.evidence[2],
            "stack of rank 2: spin (train.py:77) < step (train.py:140)");
  EXPECT_EQ(laggard.evidence[3],
            "stacks of 3 ranks alike: all_reduce (distributed_c10d.py:2501) < "
            "step (train.py:140)");
}

TEST(StandstillsTest, AStoppedProcessIsNamedFirst) {
  Stuck run(4);
  run.In("dp", {{0, 9}, {1, 9}, {2, 8}, {3, 9}});
  run.states[1].process_state = 'T';
  EXPECT_EQ(run.Find().culprit.rank, Rank{1});
}

// The numbers say more than a phase: rank 1 changed it first, and waits.
TEST(StandstillsTest, CollectivesComeBeforePhases) {
  Stuck run(4);
  run.In("dp", {{0, 9}, {1, 9}, {2, 8}, {3, 9}});
  run.states[1].phase = Phase::kOptimizer;
  EXPECT_EQ(run.Find().culprit.rank, Rank{2});
}

// Tensor groups of two, data groups over them: 0 waits for 2 that waits for 3.
TEST(StandstillsTest, OverSeveralCommunicatorsTheEndOfTheChainIsNamed) {
  Stuck run(4);
  run.In("tp:0-1", {{0, 70}, {1, 70}}).In("tp:2-3", {{2, 70}, {3, 69}});
  run.In("dp:0,2", {{0, 12}, {2, 11}}).In("dp:1,3", {{1, 12}, {3, 11}});

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit, (Culprit{"n1", Rank{3}}));
  EXPECT_THAT(laggard.evidence,
              Contains("collective tp:2-3: rank 2 has entered 70, rank 3 has "
                       "entered 69"));
  EXPECT_THAT(laggard.evidence,
              Contains("collective dp:1,3: rank 1 has entered 12, rank 3 has "
                       "entered 11"));
}

// Calls that return at once: only who entered the least holds the others.
TEST(StandstillsTest, AsynchronousCallsRunSeveralAhead) {
  Stuck run(6);
  run.In("dp", {{0, 820}, {1, 817}, {2, 815}, {3, 811}, {4, 816}, {5, 819}});

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit.rank, Rank{3});
  EXPECT_THAT(laggard.why, HasSubstr("collective 812 of dp, in which 5"));
  EXPECT_THAT(laggard.evidence,
              Contains("collective dp: rank 0 has entered 820, rank 5 has "
                       "entered 819, rank 1 has entered 817, 2 are between, "
                       "rank 3 has entered 811"));
}

TEST(StandstillsTest, ACircleNamesTheCodeAndNoRank) {
  Stuck run(4);
  run.In("a", {{0, 5}, {1, 4}, {2, 5}, {3, 5}});
  run.In("b", {{0, 4}, {1, 5}, {2, 5}, {3, 5}});
  run.AllAt(kWaiting).At(3, kSpinning);

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit, Culprit());
  EXPECT_THAT(laggard.why, HasSubstr("in different orders"));
}

TEST(StandstillsTest, AllEnteredIsTheNetworkOrADevice) {
  Stuck run(4);
  run.In("dp:0-3", {{0, 9}, {1, 9}, {2, 9}, {3, 9}}).AllAt(kWaiting);

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit, Culprit());
  EXPECT_EQ(laggard.why,
            "all 4 ranks have entered the same collectives: the network, or a "
            "device inside a collective");
  EXPECT_THAT(laggard.evidence,
              Contains("collective dp:0-3: all 4 ranks have entered 9"));
}

TEST(StandstillsTest, HalfOfTheRanksBehindNamesNobody) {
  Stuck run(4);
  run.In("dp", {{0, 9}, {1, 9}, {2, 8}, {3, 8}});
  const Laggard laggard = run.Find();
  EXPECT_EQ(laggard.culprit, Culprit());
  EXPECT_EQ(laggard.why, "2 of 4 ranks are behind in a collective");
}

TEST(StandstillsTest, StacksAloneNameWhoStandsElsewhere) {
  Stuck run(4);
  run.AllAt(kWaiting).At(1, kSpinning);

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit, (Culprit{"n0", Rank{1}}));
  EXPECT_EQ(laggard.why,
            "it stands in spin (train.py:77), the other 3 in all_reduce "
            "(distributed_c10d.py:2501)");
}

TEST(StandstillsTest, OutliersOfOneCommunicatorSaySo) {
  Stuck run(8);
  run.AllAt(kWaiting).At(2, kSpinning).At(5, kSpinning);
  run.In("dp", {{0, 9}, {1, 9}, {2, 9}, {3, 9}, {4, 9}, {5, 9}});
  run.In("pp:2,5", {{2, 7}, {5, 7}});
  EXPECT_THAT(run.Find().why,
              HasSubstr("all such ranks are of pp:2,5 (2 ranks on several"));
}

TEST(StandstillsTest, StacksOfAFewProveNothing) {
  Stuck run(8);
  for (const int r : {0, 1, 2}) run.At(r, kWaiting);
  run.At(3, kSpinning);
  EXPECT_EQ(run.Find().culprit, Culprit());
}

TEST(StandstillsTest, TheOnlySilentRankIsASuspect) {
  Stuck run(4);
  run.In("dp", {{0, 9}, {1, 9}, {3, 9}}).AllAt(kWaiting).At(2, {});

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit, (Culprit{"n1", Rank{2}}));
  EXPECT_EQ(laggard.why, "it does not tell where it stands, the other 3 do");
  EXPECT_THAT(laggard.evidence,
              Contains("neither collectives nor a stack came from rank 2"));
}

TEST(StandstillsTest, WhereOneRankReportsForAllNobodyIsSilent) {
  Stuck run(4);
  run.At(0, kWaiting);
  EXPECT_EQ(run.Find().culprit, Culprit());
}

// 2 waits in its tensor group for 3, which cannot tell: so 2 looks like the
// root. It stands where the others wait, and is not named.
TEST(StandstillsTest, ARootThatMayWaitForASilentRankIsNotNamed) {
  Stuck run(4);
  run.In("tp:0-1", {{0, 70}, {1, 70}}).In("tp:2-3", {{2, 70}});
  run.In("dp:0,2", {{0, 12}, {2, 11}}).In("dp:1,3", {{1, 12}});
  run.AllAt(kWaiting).At(3, {});
  EXPECT_EQ(run.Find().culprit.rank, Rank{3});

  // One that stands elsewhere is.
  run.At(2, kSpinning);
  EXPECT_EQ(run.Find().culprit.rank, Rank{2});
}

// Stages send to each other, which gloo counts: 0 and 3 have one neighbour, 1
// and 2 two. The data groups tell; the pipeline does not, in either direction.
TEST(StandstillsTest, NumbersThatDifferedBeforeAreNotCompared) {
  Stuck run(4);
  const std::string odd = "0:0-3 (10 at step 256)";
  run.In(odd, {{0, 12}, {3, 11}}).In("0:0-3 (20 at step 256)", {{1, 23}});
  run.In("0:0-3 (20 at step 256)", {{2, 22}});
  Laggard laggard = run.Find();
  EXPECT_EQ(laggard.culprit, Culprit());
  EXPECT_EQ(laggard.why, "all 4 ranks stand at the same place");
  EXPECT_THAT(laggard.evidence,
              Contains("0:0-3 is not compared: its members had entered "
                       "different numbers before, as sends between two of "
                       "them count too"));

  run.In("1:0-3 (7 at step 256)", {{0, 9}, {1, 9}, {2, 8}, {3, 9}});
  laggard = run.Find();
  EXPECT_EQ(laggard.culprit.rank, Rank{2});
  EXPECT_THAT(laggard.why, HasSubstr("collective 9 of 1:0-3 (7 at step 256)"));
}

// One has passed the step of the next mark, the others have not.
TEST(StandstillsTest, MarksOfDifferentStepsAreNoDifference) {
  Stuck run(4);
  run.In("0:0-3 (20 at step 256)", {{0, 41}, {1, 41}, {2, 40}});
  run.In("0:0-3 (41 at step 512)", {{3, 41}});
  EXPECT_EQ(run.Find().culprit.rank, Rank{2});
}

TEST(StandstillsTest, AThousandRanksKeepTheirEvidenceShort) {
  Stuck run(1000, 8);
  std::map<int, std::uint64_t> all;
  for (int r = 0; r < 1000; ++r) all[r] = r == 517 ? 811 : 812;
  run.In("dp:0-999", all);
  for (int node = 0; node < 125; ++node) {
    std::map<int, std::uint64_t> tensor;
    for (int r = 8 * node; r < 8 * node + 8; ++r) {
      tensor[r] = r == 517 ? 30 : 31;
    }
    run.In("tp:" + std::to_string(node), tensor);
  }
  const std::vector<std::string> deep(kMaxStackFrames,
                                      std::string(kMaxFrameBytes, 'f'));
  run.AllAt(deep).At(517, kSpinning);

  const Laggard laggard = run.Find();

  EXPECT_EQ(laggard.culprit, (Culprit{"n64", Rank{517}}));
  EXPECT_THAT(laggard.evidence, SizeIs(20));
  EXPECT_THAT(laggard.evidence,
              Contains("collective dp:0-999: ranks 0, 1, 2, 3, 4, 5, 6, 7 and "
                       "991 more have entered 812, rank 517 has entered 811"));
  for (const std::string& line : laggard.evidence) {
    EXPECT_LE(line.size(), 900u) << line;
  }
}

TEST(StandstillsTest, GroupsThatTellNothingAreLeftOut) {
  Stuck run(4);
  run.In("alone", {{0, 4}}).In("none", {{0, 0}, {1, 0}, {2, 0}, {3, 0}});
  run.In("twice", {{0, 5}, {1, 5}, {2, 5}, {3, 5}}).In("twice", {{0, 3}});
  const Laggard laggard = run.Find();
  EXPECT_EQ(laggard.culprit, Culprit());
  EXPECT_THAT(laggard.evidence,
              Each(Not(testing::AnyOf(HasSubstr("alone"), HasSubstr("none")))));
}

TEST(RunProgressTest, AStandstillIsKeptUntilTheRankAdvances) {
  Stuck run(2);
  run.In("dp", {{0, 5}, {1, 5}}).AllAt(kWaiting);
  run.Find();
  const auto told = [&] { return run.progress.Ranks()[0].standstill; };
  const auto first = told();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->stack, kWaiting);
  run.Find();
  EXPECT_EQ(told(), first);  // The same word is not copied again.

  RankState& rank = run.states[0];
  rank.collectives[0].entered = 6;
  run.Find();
  EXPECT_EQ(told()->collectives[0].entered, 6u);

  // It advanced after that was taken.
  ++rank.phase_seq;
  rank.stack_age = seconds(4);
  run.Find();
  EXPECT_EQ(told(), nullptr);

  rank.progress_age = seconds(5);
  run.Find();
  EXPECT_NE(told(), nullptr);

  rank.collectives.clear();
  rank.stack.clear();
  run.Find();
  EXPECT_EQ(told(), nullptr);

  ASSERT_NE(run.progress.Ranks()[1].standstill, nullptr);
  run.progress.ObserveExit(Rank{1});
  EXPECT_EQ(run.progress.Ranks()[1].standstill, nullptr);
}

// From heartbeats to the finding; nothing else differs between the ranks.
TEST(HangDetectorTest, StandstillsOfHeartbeatsNameTheRank) {
  TrainingRig rig;
  rig.Steps(60, milliseconds(100));
  rig.EnterPhase(Phase::kBackward);
  rig.Pass(seconds(4));
  for (std::size_t r = 0; r < rig.ranks.size(); ++r) {
    rig.ranks[r].collectives = {{"dp:0-3", r == 1 ? 59u : 60u}};
    rig.ranks[r].stack = r == 1 ? kSpinning : kWaiting;
    rig.ranks[r].stack_age = seconds(1);
  }
  ASSERT_TRUE(rig.PassUntilFound(minutes(1)).has_value());
  EXPECT_EQ(rig.findings.front().culprit, (Culprit{"n0", Rank{1}}));
  EXPECT_THAT(rig.findings.front().reason,
              HasSubstr("rank 1 on n0 did not arrive: it has not entered "
                        "collective 60 of dp:0-3, in which 3 ranks wait"));
}

}  // namespace
}  // namespace steadyrun
