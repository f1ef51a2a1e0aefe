#include "agent/recorder/step_join.h"

#include <gmock/gmock.h>

namespace steadyrun::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Duration kDeadline = std::chrono::milliseconds(250);

MonoTime At(int ms) { return MonoTime(std::chrono::milliseconds(ms)); }

RankStep Record(int rank, int step, float loss, std::uint64_t number = 0) {
  RankStep record;
  record.rank = Rank{rank};
  record.number = number;
  record.step = Step{step};
  record.end_unix_ms = 1000 + rank;
  for (float& value : record.fixed) value = AbsentValue();
  record.fixed[1] = loss;
  return record;
}

StepJoin TwoRanks() {
  StepJoin join("run-1", AttemptId{1}, kDeadline);
  join.AddRank(Rank{0});
  join.AddRank(Rank{1});
  return join;
}

TEST(StepJoinTest, ABlockLeavesWhenAllRanksAreIn) {
  StepJoin join = TwoRanks();
  join.Add(Record(1, 7, 0.5f), At(0));
  EXPECT_THAT(join.Take(At(1)), IsEmpty());

  join.Add(Record(0, 7, 0.25f), At(1));
  const auto blocks = join.Take(At(1));

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_EQ(blocks[0].step, Step{7});
  EXPECT_THAT(blocks[0].ranks, ElementsAre(0, 1));
  EXPECT_THAT(blocks[0].metrics,
              ElementsAre(static_cast<std::uint32_t>(Metric::kLoss)));
  EXPECT_THAT(blocks[0].values, ElementsAre(0.25f, 0.5f));
  EXPECT_EQ(blocks[0].end_unix_ms, 1001);
}

TEST(StepJoinTest, AHungRankHoldsTheOthersBackOnlyUntilTheDeadline) {
  StepJoin join = TwoRanks();
  join.Add(Record(0, 7, 0.5f), At(0));

  EXPECT_THAT(join.Take(At(249)), IsEmpty());
  const auto blocks = join.Take(At(250));

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_THAT(blocks[0].ranks, ElementsAre(0));
}

TEST(StepJoinTest, ALateRankMakesABlockOfItsOwn) {
  StepJoin join = TwoRanks();
  join.Add(Record(0, 7, 0.5f), At(0));
  ASSERT_THAT(join.Take(At(250)), SizeIs(1));

  join.Add(Record(1, 7, 0.5f), At(300));

  EXPECT_THAT(join.Take(At(549)), IsEmpty());
  const auto blocks = join.Take(At(550));
  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_THAT(blocks[0].ranks, ElementsAre(1));
}

TEST(StepJoinTest, BlocksKeepTheOrderInWhichTheyWereHeardOf) {
  StepJoin join = TwoRanks();
  join.Add(Record(0, 1, 0), At(0));
  join.Add(Record(0, 2, 0), At(10));
  join.Add(Record(1, 2, 0), At(10));  // Complete before step 1 is.
  EXPECT_THAT(join.Take(At(20)), IsEmpty());

  join.Add(Record(1, 1, 0), At(30));
  const auto blocks = join.Take(At(30));

  ASSERT_THAT(blocks, SizeIs(2));
  EXPECT_EQ(blocks[0].step, Step{1});
  EXPECT_EQ(blocks[1].step, Step{2});
}

TEST(StepJoinTest, ARankThatRepeatsAStepOpensANewBlock) {
  StepJoin join = TwoRanks();
  join.Add(Record(0, 1, 0.5f), At(0));
  join.Add(Record(0, 1, 0.75f), At(0));

  const auto blocks = join.Take(At(0), /*flush=*/true);

  ASSERT_THAT(blocks, SizeIs(2));
  EXPECT_THAT(blocks[1].values, ElementsAre(0.75f));
}

TEST(StepJoinTest, AValueThatOneRankLacksIsAbsentForIt) {
  StepJoin join = TwoRanks();
  RankStep first = Record(0, 1, AbsentValue());
  first.named = {{"reward", 2.0f}};
  join.Add(first, At(0));
  join.Add(Record(1, 1, 3.0f), At(0));

  const auto blocks = join.Take(At(0));

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_THAT(blocks[0].metrics, ElementsAre(2, 1000));
  EXPECT_THAT(blocks[0].names, ElementsAre("reward"));
  ASSERT_THAT(blocks[0].values, SizeIs(4));
  EXPECT_TRUE(IsAbsent(blocks[0].values[0]));
  EXPECT_EQ(blocks[0].values[1], 3.0f);
  EXPECT_EQ(blocks[0].values[2], 2.0f);
  EXPECT_TRUE(IsAbsent(blocks[0].values[3]));
}

TEST(StepJoinTest, KnowsTheOldestRecordThatWasNotTaken) {
  StepJoin join = TwoRanks();
  join.Add(Record(0, 1, 0, 10), At(0));
  join.Add(Record(0, 2, 0, 11), At(0));
  EXPECT_EQ(join.OldestHeld(Rank{0}), 10u);
  EXPECT_EQ(join.OldestHeld(Rank{1}), std::nullopt);

  join.Add(Record(1, 1, 0, 4), At(1));
  ASSERT_THAT(join.Take(At(1)), SizeIs(1));

  EXPECT_EQ(join.OldestHeld(Rank{0}), 11u);
}

TEST(StepJoinTest, HoldsABoundedNumberOfSteps) {
  StepJoin join = TwoRanks();
  for (int step = 0; step < 10'000; ++step) join.Add(Record(0, step, 0), At(0));

  EXPECT_GE(join.Take(At(0)).size(), 10'000u - 4096u);
}

}  // namespace
}  // namespace steadyrun::agent
