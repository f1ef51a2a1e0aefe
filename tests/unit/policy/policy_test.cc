#include "server/policy/policy.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

TEST(PolicyTest, ItsModeIsOneWordOrSaysWhereItDiffers) {
  Policy policy = DefaultPolicy();
  EXPECT_EQ(DescribeMode(policy), "act");
  EXPECT_EQ(DescribeMode(ObserveOnly(policy)), "observe");

  // What accompanies a run does not count.
  policy.For(IncidentKind::kStraggler).mode = Mode::kObserve;
  EXPECT_EQ(DescribeMode(policy), "act");
  policy.For(IncidentKind::kHang).mode = Mode::kAdvise;
  EXPECT_EQ(DescribeMode(policy), "act: crash, node_lost; advise: hang");
  policy.For(IncidentKind::kCrash).mode = Mode::kObserve;
  EXPECT_EQ(DescribeMode(policy),
            "act: node_lost; advise: hang; observe: crash");
}

}  // namespace
}  // namespace steadyrun
