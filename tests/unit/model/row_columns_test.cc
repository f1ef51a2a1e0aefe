#include "server/model/row_columns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

StepRow TwoRanks() {
  StepRow row;
  row.world_size = 2;
  row.metrics = {static_cast<std::uint32_t>(Metric::kLoss),
                 kFirstNamedMetric + 1, kFirstNamedMetric + 7};
  row.names = {"a", "b"};
  row.values = {1, 2, 3, 4, 5, 6};
  return row;
}

TEST(RowColumnsTest, ByMetricByNameAndByPlace) {
  const StepRow row = TwoRanks();
  EXPECT_THAT(RowColumn(row, Metric::kLoss), ElementsAre(1, 2));
  EXPECT_THAT(RowColumn(row, "b"), ElementsAre(3, 4));
  EXPECT_THAT(RowColumnAt(row, 2), ElementsAre(5, 6));
  EXPECT_EQ(RowColumnName(row, 0), "");
  EXPECT_EQ(RowColumnName(row, 1), "b");
}

TEST(RowColumnsTest, WhatIsNotThereIsEmpty) {
  StepRow row = TwoRanks();
  EXPECT_THAT(RowColumn(row, Metric::kTokens), IsEmpty());
  EXPECT_THAT(RowColumn(row, "a"), IsEmpty());
  EXPECT_THAT(RowColumn(row, ""), IsEmpty());
  EXPECT_EQ(RowColumnName(row, 2), "");  // Its name is missing.
  EXPECT_EQ(RowColumnName(row, 3), "");
  row.values.resize(3);
  EXPECT_THAT(RowColumn(row, "b"), IsEmpty());
  row.world_size = 0;
  EXPECT_THAT(RowColumn(row, Metric::kLoss), IsEmpty());
}

}  // namespace
}  // namespace steadyrun
