#include "server/detect/curve/curve_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "proto/messages/messages.h"
#include "tests/unit/curve/curve_feed.h"

namespace steadyrun {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr auto kSpike = IncidentKind::kLossSpike;

void FeedHealthy(CurveFeed* feed, std::int64_t points, double level = 3) {
  for (std::int64_t i = 0; i < points; ++i)
    feed->Loss(level + 0.03 * Wiggle(i));
}

StepRow Row(std::int64_t step, std::int64_t attempt, float loss) {
  StepRow row;
  row.run = "run";
  row.attempt = AttemptId{attempt};
  row.step = Step{step};
  row.world_size = 2;
  row.metrics = {static_cast<std::uint32_t>(Metric::kLoss)};
  row.values = {loss, loss};
  row.loss = static_cast<double>(loss);
  return row;
}

TEST(CurveWatchTest, JudgesRowsOfItsAttemptOnly) {
  CurveFeed feed;
  const auto loss = [](std::int64_t i) {
    return static_cast<float>(3 + 0.03 * Wiggle(i));
  };
  for (std::int64_t i = 0; i < 300; ++i) {
    feed.Watch().ObserveRow(Row(i, 1, loss(i)), Now(), &feed.verdicts);
    feed.Watch().ObserveRow(Row(i, 7, 9), Now(), &feed.verdicts);
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
  for (std::int64_t i = 300; i < 305; ++i) {
    feed.Watch().ObserveRow(Row(i, 1, 5), Now(), &feed.verdicts);
  }
  ASSERT_THAT(feed.verdicts.findings, SizeIs(1));
  EXPECT_EQ(feed.verdicts.findings[0].run, "run");
  EXPECT_EQ(feed.verdicts.findings[0].attempt, AttemptId{1});
}

TEST(CurveWatchTest, TrendsDoNotMixAttempts) {
  CurveFeed feed;
  FeedHealthy(&feed, 300);
  feed.Begin("run", 2);
  FeedHealthy(&feed, 300, 6);
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

TEST(CurveWatchTest, LateRowsArePassedOver) {
  CurveFeed feed;
  for (std::int64_t i = 0; i < 300; ++i) {
    feed.step = i;
    feed.Loss(3 + 0.03 * Wiggle(i));
    if (i % 10 != 9) continue;
    feed.step = i - 2;
    feed.Loss(50);
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

// A node that was away brings its part of a hundred steps at once.
TEST(CurveWatchTest, PartsOfRowsThatHadClosedAreNoWayBack) {
  CurveFeed feed;
  const auto loss = [](std::int64_t i) {
    return static_cast<float>(3 + 0.03 * Wiggle(i));
  };
  for (std::int64_t i = 0; i < 300; ++i) {
    feed.Watch().ObserveRow(Row(i, 1, loss(i)), Now(), &feed.verdicts);
  }
  for (std::int64_t i = 200; i < 300; ++i) {
    StepRow part = Row(i, 1, 9);
    part.is_complete = false;
    feed.Watch().ObserveRow(part, Now(), &feed.verdicts);
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
  for (std::int64_t i = 300; i < 305; ++i) {
    feed.Watch().ObserveRow(Row(i, 1, 5), Now(), &feed.verdicts);
  }
  EXPECT_THAT(feed.Of(kSpike), SizeIs(1));  // The trend was kept.
}

TEST(CurveWatchTest, StepsThatGoBackBeginTheTrendAnew) {
  for (const std::int64_t back : {20, 250}) {
    CurveFeed feed;
    FeedHealthy(&feed, 300);
    feed.step = 300 - back;
    FeedHealthy(&feed, 100, 6);
    EXPECT_THAT(feed.verdicts.findings, IsEmpty()) << back;
    FeedHealthy(&feed, 100, 6);
    for (int i = 0; i < 5; ++i) feed.Loss(9);
    EXPECT_THAT(feed.Of(kSpike), SizeIs(1)) << back;
  }
}

TEST(CurveWatchTest, GapsInTheStepsAreNoStride) {
  StepLine line;
  for (std::int64_t i = 0; i < 100; ++i) {
    line.Add(Step{i + (i > 50 ? 1000 : 0)});
  }
  EXPECT_EQ(line.Stride(), 1);
  EXPECT_EQ(line.Points(), 100);
}

TEST(RowReducerTest, TellsAbsentFromNanAndAveragesWhatWasReported) {
  StepRow row;
  row.step = Step{5};
  row.world_size = 3;
  row.metrics = {static_cast<std::uint32_t>(Metric::kLoss),
                 static_cast<std::uint32_t>(Metric::kGradNorm),
                 kFirstNamedMetric, kFirstNamedMetric + 1};
  row.names = {"kl", "entropy"};
  const float absent = AbsentValue();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  row.values = {1,      nan,    3,  // The summary of a row with a NaN is NaN.
                absent, absent, absent,  //
                0.5f,   absent, 1.5f,    //
                absent, absent, absent};
  row.loss = std::numeric_limits<double>::quiet_NaN();
  row.grad_norm = std::numeric_limits<double>::quiet_NaN();
  RowReducer reducer;
  const CurvePoint point = reducer.Reduce(row);
  ASSERT_TRUE(point.loss.has_value());
  EXPECT_TRUE(std::isnan(*point.loss));
  EXPECT_FALSE(point.grad_norm.has_value());
  EXPECT_FALSE(point.loss_scale.has_value());
  ASSERT_THAT(point.values, SizeIs(2));
  EXPECT_EQ(point.values[0], 1.0);
  EXPECT_TRUE(std::isnan(point.values[1]));
}

// Whatever is fed: no crash, no undefined behaviour, findings in bounds, and
// nothing cleared that was not told.
TEST(CurveWatchTest, AnyNumbersAreSurvived) {
  std::mt19937_64 random(7);
  const double odd[] = {0, -1,  1e300,        -1e300,   1e-300,
                        3, 2.9, std::nan(""), HUGE_VAL, -HUGE_VAL};
  const auto any = [&] { return odd[random() % std::size(odd)]; };
  const std::vector<std::string> names = {
      "critic/kl",   "actor/pg_clipfrac",         "entropy",
      "reward",      "completions/clipped_ratio", "rollout_corr/kl",
      "eval_reward", "response_length/mean",      "critic/score/mean"};
  for (int round = 0; round < 20; ++round) {
    CurveFeed feed;
    for (int i = 0; i < 1500; ++i) {
      CurvePoint point;
      if (random() % 4 != 0) point.loss = random() % 3 == 0 ? any() : 3.0;
      if (random() % 4 != 0) point.grad_norm = any();
      if (random() % 4 != 0) point.loss_scale = any();
      std::vector<double> values;
      for (std::size_t k = 0; k < names.size(); ++k) values.push_back(any());
      if (round % 2 == 1) {
        point.names = names;
        point.values = values;
      }
      if (random() % 100 == 0) feed.step -= 70;
      feed.Point(point);
    }
    for (const Finding& finding : feed.verdicts.findings) {
      EXPECT_FALSE(finding.reason.empty());
      EXPECT_LE(finding.onset_step, finding.step);
      EXPECT_FALSE(finding.detector.empty());
    }
  }
}

}  // namespace
}  // namespace steadyrun
