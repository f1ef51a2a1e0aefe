#include "server/engine/loss_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

StepRow Row(std::int64_t step, double loss, std::int64_t attempt = 1) {
  StepRow row;
  row.attempt = AttemptId{attempt};
  row.step = Step{step};
  row.world_size = 1;
  row.metrics = {static_cast<std::uint32_t>(Metric::kLoss)};
  row.values = {static_cast<float>(loss)};
  row.loss = loss;
  return row;
}

TEST(LossLineTest, AYoungRunShowsEachStep) {
  LossLine line;
  line.Add(Row(0, 3));
  line.Add(Row(1, 2));
  EXPECT_THAT(line.Points(), ElementsAre(3.0F, 2.0F));
}

TEST(LossLineTest, AnOldRunShowsMeansOfItsNewestSteps) {
  LossLine line;
  std::size_t most = 0;
  for (int step = 0; step < 100'000; ++step) {
    line.Add(Row(step, step));
    most = std::max(most, line.Points().size());
  }
  EXPECT_EQ(most, LossLine::kPoints);
  const std::vector<float> points = line.Points();
  ASSERT_THAT(points, SizeIs(LossLine::kPoints));
  // Each is the mean of 64 steps, and they are the newest.
  for (std::size_t i = 1; i + 1 < points.size(); ++i) {
    EXPECT_FLOAT_EQ(points[i] - points[i - 1], 64);
  }
  EXPECT_GT(points.back(), 100'000 - 64);
  EXPECT_NEAR(points.front(), 100'000 - 3840, 64);
}

TEST(LossLineTest, StepsMadeAgainTakeThePlaceOfTheOld) {
  LossLine line;
  for (int step = 0; step < 10; ++step) line.Add(Row(step, 1));
  for (int step = 6; step < 9; ++step) line.Add(Row(step, 5, /*attempt=*/2));
  EXPECT_THAT(line.Points(), ElementsAre(1, 1, 1, 1, 1, 1, 5, 5, 5));
}

TEST(LossLineTest, LateRowsAndRowsWithoutLossesChangeNothing) {
  LossLine line;
  line.Add(Row(5, 1));
  line.Add(Row(4, 9));
  StepRow silent = Row(6, std::numeric_limits<double>::quiet_NaN());
  silent.metrics.clear();
  silent.values.clear();
  line.Add(silent);
  EXPECT_THAT(line.Points(), ElementsAre(1));
}

TEST(LossLineTest, NotANumberIsShown) {
  LossLine line;
  line.Add(Row(0, std::numeric_limits<double>::quiet_NaN()));
  ASSERT_THAT(line.Points(), SizeIs(1));
  EXPECT_TRUE(std::isnan(line.Points()[0]));
  EXPECT_THAT(LossLine().Points(), IsEmpty());
}

}  // namespace
}  // namespace steadyrun
