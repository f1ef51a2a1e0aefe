// The figures the detectors have to reach on seeded curves: seeds 10 to 19,
// constants were chosen on 0 to 9.

#include "tests/unit/curve/curve_score.h"

#include <gtest/gtest.h>

#include "tests/unit/curve/synthetic_rl.h"

namespace steadyrun {
namespace {

constexpr std::uint64_t kFrom = 10;
constexpr std::uint64_t kTo = 19;

TEST(CurveScoreTest, HealthyCurvesRaiseAtMostOneAlarmInTenThousandSteps) {
  const CurveScore score =
      ScoreFault(CurveFault::kNone, kFrom, kTo, 1, 10'000, true);
  EXPECT_EQ(score.points, 100'000);
  EXPECT_LE(score.false_alarms, 10);
  EXPECT_EQ(score.needless_actions, 0);
}

TEST(CurveScoreTest, BenignSpikesAreFoundAndAskForNoAction) {
  const CurveScore score =
      ScoreFault(CurveFault::kBenignSpike, kFrom, kTo, 10, 1200, true);
  EXPECT_GE(score.found, 95);
  EXPECT_EQ(score.needless_actions, 0);
}

TEST(CurveScoreTest, MalignantSpikesAskForACleanWayBack) {
  const CurveScore score =
      ScoreFault(CurveFault::kMalignantSpike, kFrom, kTo, 10, 1200, true);
  EXPECT_GE(score.found, 95);
  EXPECT_GE(score.judged, 95);
  EXPECT_LE(score.unclean_targets, 5);
}

TEST(CurveScoreTest, DivergenceIsFoundWithinTwoHundredSteps) {
  const CurveScore score =
      ScoreFault(CurveFault::kDivergence, kFrom, kTo, 10, 1600, true);
  EXPECT_GE(score.found, 95);
  EXPECT_GE(score.judged, 95);
  EXPECT_LE(score.unclean_targets, 5);
}

TEST(CurveScoreTest, HealthyReinforcementLearningRaisesNextToNothing) {
  const RlScore score = ScoreRl(RlFault::kNone, kFrom, kTo, 5, 1000);
  EXPECT_EQ(score.points, 50'000);
  EXPECT_LE(score.false_alarms, 5);
}

TEST(CurveScoreTest, FaultsOfReinforcementLearningAreFoundWithinSixtySteps) {
  for (const RlFault fault : kRlFaults) {
    const RlScore score = ScoreRl(fault, kFrom, kTo, 4, 400);
    EXPECT_GE(score.found, 36) << RlFaultName(fault);
  }
}

}  // namespace
}  // namespace steadyrun
