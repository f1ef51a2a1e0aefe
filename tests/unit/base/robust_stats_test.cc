#include "base/robust_stats.h"

#include <gtest/gtest.h>

#include <cmath>

namespace steadyrun {
namespace {

TEST(RobustStatsTest, MedianOfOddEvenEmptyAndNan) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(Median({}), 0);
  EXPECT_EQ(Median({std::nan(""), 5, std::nan("")}), 5);
}

TEST(RobustStatsTest, OneWildValueMovesNeitherMedianNorMad) {
  std::vector<double> values = {1, 2, 3, 4, 1e12};
  EXPECT_EQ(Median(values), 3);
  EXPECT_NEAR(MadInPlace(values, 3), 1.4826, 1e-12);
}

TEST(RobustStatsTest, QuantilesAreValuesOfTheSample) {
  EXPECT_EQ(Quantile({5, 1, 3}, 0), 1);
  EXPECT_EQ(Quantile({5, 1, 3}, 1), 5);
  EXPECT_EQ(Quantile({5, 1, 3}, 0.5), 3);
  EXPECT_EQ(Quantile({5, 1, 3}, 7), 5);
  EXPECT_EQ(Quantile({}, 0.5), 0);
}

}  // namespace
}  // namespace steadyrun
