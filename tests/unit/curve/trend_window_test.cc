#include "server/detect/curve/trend_window.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/curve/curve_feed.h"

namespace steadyrun {
namespace {

TEST(TrendWindowTest, FollowsAStraightFall) {
  TrendWindow trend;
  const auto line = [](int i) { return 5 - 0.01 * i; };
  for (int i = 0; i < 300; ++i) trend.Accept(line(i) + 0.02 * Wiggle(i));
  EXPECT_NEAR(trend.Baseline(), line(300), 0.02);
  EXPECT_NEAR(trend.Slope(), -0.01, 1e-3);
  // A flat median of the window would call this healthy.
  EXPECT_GT(trend.Score(line(300) + 0.5), 4);
}

// Where a straight line through the whole window lies below the newest loss.
TEST(TrendWindowTest, ABentCurveIsNotAboveItsTrend) {
  TrendWindow trend;
  const auto curve = [](int i) { return 2 + 9 * std::pow(i + 20, -0.4); };
  int high = 0;
  for (int i = 0; i < 2000; ++i) {
    const double loss = curve(i) + 0.02 * Wiggle(i);
    if (trend.IsReady(32)) high += trend.Score(loss) > 4 ? 1 : 0;
    trend.Accept(loss);
  }
  EXPECT_EQ(high, 0);
}

TEST(TrendWindowTest, AQuarterOfBadPointsChangesLittle) {
  TrendWindow trend;
  for (int i = 0; i < 300; ++i) {
    trend.Accept(i % 4 == 0 ? 50 : 3 + 0.02 * Wiggle(i));
  }
  EXPECT_NEAR(trend.Baseline(), 3, 0.05);
  EXPECT_LT(trend.Scale(), 0.1);
}

TEST(TrendWindowTest, ASteepSlopeIsNotCarriedFarWhilePointsAreSkipped) {
  TrendWindow trend;
  for (int i = 0; i < 128; ++i) trend.Accept(10 - 0.05 * i);
  for (int i = 0; i < 500; ++i) trend.Skip();
  EXPECT_GT(trend.Baseline(), 3);
}

TEST(TrendWindowTest, AConstantSeriesHasAScale) {
  TrendWindow trend;
  for (int i = 0; i < 128; ++i) trend.Accept(4);
  EXPECT_NEAR(trend.Scale(), 4e-3, 1e-9);
  TrendWindow zero(1e-3, 1e-4);
  for (int i = 0; i < 128; ++i) zero.Accept(0);
  EXPECT_NEAR(zero.Scale(), 1e-4, 1e-12);
}

TEST(TrendWindowTest, SaysNothingBeforeItsFirstFitAndAfterAReset) {
  TrendWindow trend;
  EXPECT_EQ(trend.Score(1e9), 0);
  for (int i = 0; i < 128; ++i) trend.Accept(4);
  EXPECT_GT(trend.Score(5), 100);
  trend.Reset();
  EXPECT_EQ(trend.Score(1e9), 0);
  EXPECT_FALSE(trend.IsReady(1));
}

}  // namespace
}  // namespace steadyrun
