#include "server/engine/step_join.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Now At(double seconds) {
  return {MonoTime(FromSeconds(1000 + seconds)),
          FromUnixMillis(static_cast<std::int64_t>(1000 * seconds))};
}

std::uint32_t Id(Metric metric) { return static_cast<std::uint32_t>(metric); }

// Loss of each rank is 10 * step + rank.
StepBlock Block(std::int64_t step, std::vector<std::uint32_t> ranks) {
  StepBlock block;
  block.run = "gpt";
  block.attempt = AttemptId{1};
  block.step = Step{step};
  block.ranks = std::move(ranks);
  block.metrics = {Id(Metric::kLoss)};
  for (const std::uint32_t rank : block.ranks) {
    block.values.push_back(static_cast<float>(10 * step + rank));
  }
  return block;
}

class StepJoinTest : public testing::Test {
 protected:
  StepJoinTest() { join_.Begin("gpt", AttemptId{1}, 4); }
  bool Add(const StepBlock& block, double at = 0) {
    return join_.Add(block, HeldReport{nullptr, 0, next_held_++}, At(at),
                     &closed_);
  }

  StepJoin join_;
  std::vector<ClosedRow> closed_;
  std::uint64_t next_held_ = 0;
};

TEST_F(StepJoinTest, ARowClosesWithItsLastRank) {
  EXPECT_TRUE(Add(Block(5, {0, 1})));
  EXPECT_THAT(closed_, IsEmpty());
  EXPECT_TRUE(Add(Block(5, {2, 3})));

  ASSERT_THAT(closed_, SizeIs(1));
  const StepRow& row = closed_[0].row;
  EXPECT_EQ(row.step, Step{5});
  EXPECT_TRUE(row.is_complete);
  EXPECT_THAT(row.values, ElementsAre(50, 51, 52, 53));
  EXPECT_THAT(closed_[0].held, SizeIs(2));
  EXPECT_THAT(join_.RankSteps(), ElementsAre(5, 5, 5, 5));
}

TEST_F(StepJoinTest, RanksNeedNotBeNeighbours) {
  Add(Block(5, {0, 2}));
  Add(Block(5, {1, 3}));
  ASSERT_THAT(closed_, SizeIs(1));
  EXPECT_THAT(closed_[0].row.values, ElementsAre(50, 51, 52, 53));
}

TEST_F(StepJoinTest, AHungRankHoldsARowBackForASecondOnly) {
  Add(Block(5, {0, 1, 2}), 0);
  join_.CloseExpired(At(0.9), &closed_);
  EXPECT_THAT(closed_, IsEmpty());
  join_.CloseExpired(At(1.0), &closed_);

  ASSERT_THAT(closed_, SizeIs(1));
  EXPECT_FALSE(closed_[0].row.is_complete);
  EXPECT_TRUE(IsAbsent(closed_[0].row.values[3]));
}

TEST_F(StepJoinTest, ALateRankMakesARowOfItsOwn) {
  Add(Block(5, {0, 1, 2}), 0);
  join_.CloseExpired(At(1), &closed_);
  Add(Block(5, {3}), 2);
  join_.CloseExpired(At(3), &closed_);

  ASSERT_THAT(closed_, SizeIs(2));
  EXPECT_TRUE(IsAbsent(closed_[1].row.values[0]));
  EXPECT_EQ(closed_[1].row.values[3], 53);
}

TEST_F(StepJoinTest, ARankThatComesTwiceIsCountedOnce) {
  Add(Block(5, {0, 1}));
  Add(Block(5, {0, 1}));
  EXPECT_THAT(closed_, IsEmpty());
  Add(Block(5, {2, 3}));
  EXPECT_THAT(closed_, SizeIs(1));
}

TEST_F(StepJoinTest, MetricsThatOnlySomeReportAreAbsentElsewhere) {
  StepBlock more = Block(5, {2, 3});
  more.metrics.push_back(Id(Metric::kTokens));
  more.values.insert(more.values.end(), {7, 8});
  Add(Block(5, {0, 1}));
  Add(more);

  ASSERT_THAT(closed_, SizeIs(1));
  const StepRow& row = closed_[0].row;
  EXPECT_THAT(row.metrics, ElementsAre(Id(Metric::kLoss), Id(Metric::kTokens)));
  EXPECT_TRUE(IsAbsent(row.values[4]));
  EXPECT_EQ(row.values[6], 7);
}

TEST_F(StepJoinTest, NamedMetricsAreMatchedByName) {
  StepBlock one = Block(5, {0, 1});
  one.metrics = {kFirstNamedMetric, kFirstNamedMetric + 1};
  one.names = {"kl", "reward"};
  one.values = {1, 2, 3, 4};
  StepBlock two = Block(5, {2, 3});
  two.metrics = {kFirstNamedMetric, kFirstNamedMetric + 1};
  two.names = {"reward", "kl"};
  two.values = {30, 40, 10, 20};
  Add(one);
  Add(two);

  ASSERT_THAT(closed_, SizeIs(1));
  EXPECT_THAT(closed_[0].row.names, ElementsAre("kl", "reward"));
  EXPECT_THAT(closed_[0].row.values, ElementsAre(1, 2, 10, 20, 3, 4, 30, 40));
}

TEST_F(StepJoinTest, WhatDoesNotFitTheWorldIsNotUsed) {
  EXPECT_FALSE(Add(Block(5, {4})));
  EXPECT_FALSE(Add(Block(5, {})));
  EXPECT_FALSE(Add(Block(-1, {0})));
  StepBlock short_values = Block(5, {0, 1});
  short_values.values.pop_back();
  EXPECT_FALSE(Add(short_values));
  EXPECT_EQ(join_.OpenRows(), 0U);
}

TEST_F(StepJoinTest, OpenRowsAreBounded) {
  for (std::int64_t step = 0; step < 10'000; ++step) Add(Block(step, {0}));
  EXPECT_EQ(join_.OpenRows(), StepJoin::kMaxOpenRows);
  EXPECT_THAT(closed_, SizeIs(10'000 - StepJoin::kMaxOpenRows));
  EXPECT_EQ(closed_[0].row.step, Step{0});  // The oldest first.
}

TEST_F(StepJoinTest, HeartbeatsRaiseARanksStepToo) {
  EXPECT_TRUE(join_.NoteRankStep(Rank{2}, Step{9}));
  EXPECT_FALSE(join_.NoteRankStep(Rank{2}, Step{9}));
  EXPECT_FALSE(join_.NoteRankStep(Rank{4}, Step{9}));
  EXPECT_EQ(join_.NewestStep(), Step{9});
  EXPECT_THAT(join_.RankSteps(), ElementsAre(-1, -1, 9, -1));
}

StepRow Row(std::vector<float> loss, std::vector<float> norm,
            std::vector<float> seconds) {
  StepRow row;
  row.world_size = static_cast<std::int32_t>(loss.size());
  row.metrics = {Id(Metric::kLoss), Id(Metric::kGradNorm),
                 Id(Metric::kStepSeconds)};
  row.values = std::move(loss);
  row.values.insert(row.values.end(), norm.begin(), norm.end());
  row.values.insert(row.values.end(), seconds.begin(), seconds.end());
  return row;
}

TEST(SummarizeTest, TheSummaryIsOfTheRanksThatReported) {
  const float absent = AbsentValue();
  StepRow row = Row({1, 3, absent}, {5, 2, absent}, {0.5F, 0.25F, absent});
  std::vector<double> scratch;

  Summarize(&row, &scratch);

  EXPECT_DOUBLE_EQ(row.loss, 2);
  EXPECT_DOUBLE_EQ(row.grad_norm, 5);
  EXPECT_DOUBLE_EQ(row.step_seconds, 0.375);
  EXPECT_DOUBLE_EQ(row.step_seconds_max, 0.5);
  EXPECT_EQ(row.slowest_rank, 0);
  EXPECT_EQ(row.tokens, 0);
}

TEST(SummarizeTest, ANanShowsInTheSummary) {
  StepRow row = Row({1, kNan}, {kNan, 2}, {1, 1});
  std::vector<double> scratch;
  Summarize(&row, &scratch);
  EXPECT_TRUE(std::isnan(row.loss));
  EXPECT_TRUE(std::isnan(row.grad_norm));
}

TEST(SummarizeTest, NothingReportedIsNotANumberOrNone) {
  StepRow row;
  row.world_size = 2;
  std::vector<double> scratch;
  Summarize(&row, &scratch);
  EXPECT_TRUE(std::isnan(row.loss));
  EXPECT_EQ(row.slowest_rank, -1);
  EXPECT_EQ(row.step_seconds, 0);
}

}  // namespace
}  // namespace steadyrun
