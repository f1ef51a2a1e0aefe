#include "server/recovery/stop_proof.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

class StopProofTest : public testing::Test {
 protected:
  StopProof Prove(std::size_t node = 0) {
    return ProveStopped(state_.placement[node], state_, cluster_.View(),
                        policy_);
  }
  // All others are connected and confirmed.
  void OthersAreFine() {
    for (std::size_t i = 1; i < state_.placement.size(); ++i) {
      cluster_.Node(state_.placement[i].node).Floor(2);
    }
  }

  RunState state_ = TestState(RunPhase::kStopping, 3);
  TestCluster cluster_;
  Policy policy_ = DefaultPolicy();
};

TEST_F(StopProofTest, ARaisedFloorWithoutLivingRanksConfirms) {
  OthersAreFine();
  cluster_.Node("a").Floor(2).Rank(0, 1, RankLife::kExited);
  EXPECT_EQ(Prove(), StopProof::kConfirmed);
}

TEST_F(StopProofTest, ExitedRanksWithoutTheFloorDoNotConfirm) {
  OthersAreFine();
  cluster_.Node("a").Floor(1).Rank(0, 1, RankLife::kExited);
  EXPECT_EQ(Prove(), StopProof::kNone);
}

TEST_F(StopProofTest, ARankThatIsOnlyStartingIsAlive) {
  OthersAreFine();
  cluster_.Node("a").Floor(2).Rank(0, 1, RankLife::kStarting);
  EXPECT_EQ(Prove(), StopProof::kNone);
}

TEST_F(StopProofTest, AnotherLifeOfTheNodeIsProof) {
  OthersAreFine();
  cluster_.Node("a").state.boot_id = "another";
  EXPECT_EQ(Prove(), StopProof::kRebooted);
}

TEST_F(StopProofTest, ANodeWithoutStreamIsPassedOverAfterTwoSeconds) {
  OthersAreFine();
  cluster_.Node("a").Silent(milliseconds(1900));
  EXPECT_EQ(Prove(), StopProof::kNone);
  cluster_.Node("a").Silent(seconds(2));
  EXPECT_EQ(Prove(), StopProof::kFenced);
}

TEST_F(StopProofTest, ASilentStreamGetsThreeSeconds) {
  OthersAreFine();
  cluster_.Node("a").Silent(milliseconds(2900), /*stays_connected=*/true);
  EXPECT_EQ(Prove(), StopProof::kNone);
  cluster_.Node("a").Silent(seconds(3), /*stays_connected=*/true);
  EXPECT_EQ(Prove(), StopProof::kFenced);
}

TEST_F(StopProofTest, ASlowButTalkingNodeIsWaitedForHoweverLong) {
  OthersAreFine();
  cluster_.Node("a").Rank(0, 1, RankLife::kAlive).silence = milliseconds(400);
  state_.phase_since = TestNow(-minutes(30));
  EXPECT_EQ(Prove(), StopProof::kNone);
}

TEST_F(StopProofTest, WhenMostAreSilentNoneIsPassedOver) {
  cluster_.Node("a").Silent(seconds(30));
  cluster_.Node("b").Silent(seconds(30));
  cluster_.Node("c").Floor(2);
  EXPECT_EQ(Prove(), StopProof::kNone);
  // After a minute, the rest of the cluster bears witness, if it is heard.
  cluster_.Node("a").Silent(seconds(60));
  cluster_.Node("b").Silent(seconds(60));
  EXPECT_EQ(Prove(), StopProof::kNone);
  cluster_.Node("d");
  EXPECT_EQ(Prove(), StopProof::kFenced);
}

TEST_F(StopProofTest, SilenceSaysNothingWhileTheServiceSettles) {
  OthersAreFine();
  cluster_.Node("a").Silent(seconds(30));
  cluster_.Settle();
  EXPECT_EQ(Prove(), StopProof::kNone);
}

TEST_F(StopProofTest, ARunOnOneNodeNeedsAMinuteAndAnotherNodeThatIsHeard) {
  state_ = TestState(RunPhase::kStopping, 1);
  cluster_.Node("a").Silent(seconds(61));
  EXPECT_EQ(Prove(), StopProof::kNone);
  cluster_.Node("z");
  EXPECT_EQ(Prove(), StopProof::kFenced);
  cluster_.Node("a").Silent(seconds(59));
  EXPECT_EQ(Prove(), StopProof::kNone);
}

TEST_F(StopProofTest, APassedOverNodeThatComesBackMustConfirm) {
  OthersAreFine();
  state_.placement[0].proof = StopProof::kFenced;
  cluster_.Node("a").Floor(1).Rank(0, 1, RankLife::kAlive);
  EXPECT_EQ(Prove(), StopProof::kNone);
  cluster_.Node("a").is_connected = false;
  EXPECT_EQ(Prove(), StopProof::kFenced);
}

TEST_F(StopProofTest, TheSummaryNamesWhoIsMissing) {
  cluster_.Node("a").Floor(2);
  cluster_.Node("b").Rank(2, 1, RankLife::kAlive);
  cluster_.Node("c").Rank(4, 1, RankLife::kAlive);

  const ProofSummary summary = UpdateProofs(&state_, cluster_.View(), policy_);

  EXPECT_FALSE(summary.is_complete);
  EXPECT_TRUE(summary.has_changed);
  EXPECT_EQ(summary.missing, "b, c");
  EXPECT_EQ(state_.placement[0].proof, StopProof::kConfirmed);
}

}  // namespace
}  // namespace steadyrun
