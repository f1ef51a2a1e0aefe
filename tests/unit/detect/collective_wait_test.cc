#include "server/detect/collective_wait.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/detect/stack_clusters.h"

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// (rank, entered); inside its newest collective unless it is in `outside`.
Communicator Group(const std::string& name,
                   std::vector<std::pair<int, std::uint64_t>> members,
                   const std::vector<int>& outside = {}) {
  Communicator group;
  group.name = name;
  for (const auto& [rank, entered] : members) {
    const bool is_out = std::ranges::find(outside, rank) != outside.end();
    group.members.push_back({Rank{rank}, entered, !is_out});
  }
  return group;
}

TEST(CollectiveWaitTest, TheRankThatDidNotComeIsTheRoot) {
  const Communicator groups[] = {
      Group("dp0", {{0, 9}, {1, 9}, {2, 8}, {3, 9}}, {2})};
  const CollectiveWait wait = AnalyseCollectives(groups);
  EXPECT_THAT(wait.roots, ElementsAre(Rank{2}));
  EXPECT_THAT(wait.cycles, IsEmpty());
  EXPECT_EQ(wait.why,
            "it has not entered collective 9 of dp0, in which 3 ranks wait");
}

TEST(CollectiveWaitTest, OverSeveralGroupsOnlyTheSinkIsNamed) {
  // Rank 5 is stuck; 4 waits for it in their tensor group and so is late in
  // its data group, where 0 waits, and so on.
  const Communicator groups[] = {
      Group("tp1", {{4, 7}, {5, 6}}, {5}),
      Group("dp0", {{0, 3}, {4, 2}}, {4}),
      Group("dp1", {{1, 3}, {5, 2}}, {5}),
      Group("tp0", {{0, 7}, {1, 7}}, {0, 1}),
      Group("pp", {{0, 4}, {8, 5}}, {0}),
  };
  const CollectiveWait wait = AnalyseCollectives(groups);
  EXPECT_THAT(wait.roots, ElementsAre(Rank{5}));
  EXPECT_THAT(wait.lagging, SizeIs(4));
}

TEST(CollectiveWaitTest, TheRootMostRanksWaitForComesFirst) {
  const Communicator groups[] = {
      Group("a", {{1, 2}, {0, 1}}, {0}),
      Group("b", {{4, 2}, {5, 2}, {6, 2}, {7, 1}}, {7}),
  };
  EXPECT_THAT(AnalyseCollectives(groups).roots, ElementsAre(Rank{7}, Rank{0}));
}

TEST(CollectiveWaitTest, RanksThatWaitForEachOtherAreACycle) {
  // 0 entered a first, 1 entered b first.
  const Communicator groups[] = {
      Group("a", {{0, 5}, {1, 4}}, {1}),
      Group("b", {{0, 4}, {1, 5}}, {0}),
  };
  const CollectiveWait wait = AnalyseCollectives(groups);
  EXPECT_THAT(wait.roots, IsEmpty());
  ASSERT_THAT(wait.cycles, SizeIs(1));
  EXPECT_THAT(wait.cycles[0], ElementsAre(Rank{0}, Rank{1}));
  EXPECT_THAT(wait.why, HasSubstr("different orders"));
}

TEST(CollectiveWaitTest, AllInsideIsTheTransport) {
  const Communicator groups[] = {Group("dp", {{0, 5}, {1, 5}})};
  const CollectiveWait wait = AnalyseCollectives(groups);
  EXPECT_THAT(wait.roots, IsEmpty());
  EXPECT_THAT(wait.transport, ElementsAre(0u));
  EXPECT_THAT(wait.why, HasSubstr("does not complete"));
}

TEST(CollectiveWaitTest, NobodyWaitsAndNothing) {
  const Communicator groups[] = {Group("dp", {{0, 5}, {1, 4}}, {0, 1}),
                                 Group("empty", {}), Group("odd", {{-1, 3}})};
  EXPECT_THAT(AnalyseCollectives(groups).why, IsEmpty());
  EXPECT_THAT(AnalyseCollectives({}).roots, IsEmpty());
}

TEST(CollectiveWaitTest, AHundredThousandRanksInAChain) {
  // Each waits for the next one: the deepest graph there is.
  std::vector<Communicator> groups;
  constexpr int kRanks = 100'000;
  for (int r = 0; r + 1 < kRanks; ++r) {
    groups.push_back(Group("p", {{r, 2}, {r + 1, 1}}, {r + 1}));
  }
  const CollectiveWait wait = AnalyseCollectives(groups);
  EXPECT_THAT(wait.roots, ElementsAre(Rank{kRanks - 1}));
  EXPECT_THAT(wait.cycles, IsEmpty());
}

TEST(StackClustersTest, TheMinorityStandsOutWithItsSmallestGroup) {
  const std::vector<std::string> frames[] = {
      {"ncclAllReduce+0x7f11a", "step"}, {"ncclAllReduce+0x7f22b", "step"},
      {"read (loader.py:88)", "step"},   {"read (loader.py:91)", "step"},
      {"ncclAllReduce+0x1", "step"},     {"ncclAllReduce+0x2", "step"}};
  std::vector<RankStack> stacks;
  for (int r = 0; r < 6; ++r) stacks.push_back({Rank{r}, frames[r]});
  const Communicator groups[] = {
      Group("all", {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}}),
      Group("tp1", {{2, 1}, {3, 1}}), Group("tp0", {{0, 1}, {1, 1}})};
  const StackClusters found = ClusterStacks(stacks, groups);
  ASSERT_THAT(found.clusters, SizeIs(2));
  EXPECT_EQ(found.clusters[0].top, "ncclAllReduce+#");
  EXPECT_THAT(found.outliers, ElementsAre(Rank{2}, Rank{3}));
  EXPECT_EQ(found.shared, 1u);
}

TEST(StackClustersTest, WithoutAMajorityNobodyStandsOut) {
  const std::vector<std::string> a = {"a"};
  const std::vector<std::string> b = {"b"};
  const RankStack stacks[] = {{Rank{0}, a}, {Rank{1}, b}};
  EXPECT_THAT(ClusterStacks(stacks, {}).outliers, IsEmpty());
  EXPECT_THAT(ClusterStacks({}, {}).clusters, IsEmpty());
}

TEST(StackClustersTest, NamesKeepTheirNumbers) {
  EXPECT_EQ(NormaliseFrame("conv2d at 0x7fff12 line 42"), "conv2d at # line #");
  EXPECT_EQ(NormaliseFrame(""), "");
}

}  // namespace
}  // namespace steadyrun
