#include "server/recovery/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Names(const PlacementResult& result) {
  std::vector<std::string> names;
  if (!result.placement.has_value()) return names;
  for (const NodeAssignment& node : result.placement->nodes) {
    names.push_back(node.node);
  }
  return names;
}

class PlacementTest : public testing::Test {
 protected:
  PlacementResult Choose() {
    return ChoosePlacement(state_, cluster_.View(), policy_);
  }

  RunState state_ = TestState(RunPhase::kPlacing);
  TestCluster cluster_;
  Policy policy_ = DefaultPolicy();
};

TEST_F(PlacementTest, UsableNodesKeepTheirNodeRank) {
  std::swap(state_.placement[0].node, state_.placement[1].node);
  cluster_.Node("a");
  cluster_.Node("b");
  cluster_.Node("c");

  EXPECT_THAT(Names(Choose()), ElementsAre("b", "a"));
}

TEST_F(PlacementTest, ALostNodeIsReplacedByASpareInItsSeat) {
  cluster_.Node("a").Silent(seconds(5));
  cluster_.Node("b");
  cluster_.Node("c");

  const PlacementResult result = Choose();

  EXPECT_THAT(Names(result), ElementsAre("c", "b"));
  EXPECT_THAT(result.placement->reason, HasSubstr("without a"));
  EXPECT_EQ(result.placement->nodes[0].boot_id, "c-life");
}

TEST_F(PlacementTest, WithoutASpareItSaysWhatIsMissing) {
  cluster_.Node("a").Silent(seconds(5));
  cluster_.Node("b");

  const PlacementResult result = Choose();

  EXPECT_FALSE(result.placement.has_value());
  EXPECT_THAT(result.missing, HasSubstr("1 of 2 nodes are missing: a"));
}

TEST_F(PlacementTest, ANodeOfAnotherRunIsNoSpare) {
  cluster_.Node("a").Silent(seconds(5));
  cluster_.Node("b");
  cluster_.Node("c").serving = "other";

  EXPECT_FALSE(Choose().placement.has_value());
}

TEST_F(PlacementTest, ANodeThatStillRunsAnOlderAttemptIsNotUsed) {
  state_.attempt = AttemptId{2};
  cluster_.Node("a").Rank(0, 1, RankLife::kAlive);
  cluster_.Node("b");
  cluster_.Node("c");

  EXPECT_THAT(Names(Choose()), ElementsAre("c", "b"));
}

TEST_F(PlacementTest, AQuarantinedNodeIsTheLastResort) {
  cluster_.Node("a").is_quarantined = true;
  cluster_.Node("b");
  cluster_.Node("c");
  EXPECT_THAT(Names(Choose()), ElementsAre("c", "b"));

  cluster_.Node("c").is_connected = false;
  EXPECT_THAT(Names(Choose()), ElementsAre("a", "b"));

  policy_.quarantine.use_as_last_resort = false;
  EXPECT_FALSE(Choose().placement.has_value());
}

TEST_F(PlacementTest, TheBlamedNodeIsAvoidedWhileThereIsASpare) {
  state_.avoid_node = "b";
  cluster_.Node("a");
  cluster_.Node("b");
  EXPECT_THAT(Names(Choose()), ElementsAre("a", "b"));

  cluster_.Node("c");
  EXPECT_THAT(Names(Choose()), ElementsAre("a", "c"));
}

TEST_F(PlacementTest, TheFirstAttemptTakesSparesByName) {
  state_.placement.clear();
  cluster_.Node("z");
  cluster_.Node("m");
  cluster_.Node("k");

  EXPECT_THAT(Names(Choose()), ElementsAre("k", "m"));
}

}  // namespace
}  // namespace steadyrun
