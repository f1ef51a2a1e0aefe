// Gradient norm, divergence, plateau and loss scale.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "server/detect/curve/drift_test.h"
#include "tests/unit/curve/curve_feed.h"

namespace steadyrun {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double Norm(std::int64_t i) { return 0.5 * std::exp(0.1 * Wiggle(i)); }

TEST(GradExplosionTest, IsReportedOnceAndNeverAsksForMore) {
  CurveFeed feed;
  for (std::int64_t i = 0; i < 300; ++i) feed.Norm(Norm(i));
  for (std::int64_t i = 0; i < 10; ++i) feed.Norm(Norm(i) * 20);
  for (std::int64_t i = 0; i < 40; ++i) feed.Norm(Norm(i));
  ASSERT_THAT(feed.verdicts.findings, SizeIs(1));
  const Finding& finding = feed.verdicts.findings[0];
  EXPECT_EQ(finding.kind, IncidentKind::kGradExplosion);
  EXPECT_EQ(finding.onset_step, Step{300});
  EXPECT_EQ(finding.step, Step{302});
  EXPECT_EQ(finding.advice, Advice::kReport);
  EXPECT_EQ(feed.Cleared(IncidentKind::kGradExplosion), 1);
}

TEST(GradExplosionTest, SingleNormsZerosAndNanAreNone) {
  CurveFeed feed;
  for (std::int64_t i = 0; i < 2000; ++i) {
    const bool is_skipped = i % 100 == 50;  // A skipped step reports 0.
    feed.Norm(is_skipped      ? 0
              : i % 100 == 60 ? kNan
              : i % 50 == 7   ? 9
                              : Norm(i));
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

TEST(GradExplosionTest, ANewLevelIsLearned) {
  CurveFeed feed;
  for (std::int64_t i = 0; i < 300; ++i) feed.Norm(Norm(i));
  for (std::int64_t i = 0; i < 600; ++i) feed.Norm(Norm(i) * 20);
  EXPECT_THAT(feed.verdicts.findings, SizeIs(1));
  EXPECT_EQ(feed.Cleared(IncidentKind::kGradExplosion), 1);
}

TEST(MannKendallTest, TellsRisingFromFlat) {
  std::vector<double> values;
  for (int i = 0; i < 20; ++i) values.push_back(i);
  EXPECT_NEAR(MannKendall(values), 6.13, 0.01);
  for (double& v : values) v = -v;
  EXPECT_NEAR(MannKendall(values), -6.13, 0.01);
  for (int i = 0; i < 20; ++i) {
    values[static_cast<std::size_t>(i)] = Wiggle(i);
  }
  EXPECT_LT(std::abs(MannKendall(values)), 2);
  EXPECT_EQ(MannKendall({}), 0);
}

// Loss and norm of a run that diverges from its 800th point on.
void FeedDivergence(CurveFeed* feed, double loss_rate, double norm_rate) {
  for (std::int64_t i = 0; i < 1100; ++i) {
    const double k = i < 800 ? 0 : static_cast<double>(i - 800);
    CurvePoint point;
    point.loss = 3 + 0.03 * Wiggle(i) + loss_rate * k;
    point.grad_norm = Norm(i) * std::exp(norm_rate * k);
    feed->Point(point);
  }
}

TEST(DivergenceTest, WithAGrowingNormItAsksForTheWayBack) {
  CurveFeed feed;
  FeedDivergence(&feed, 0.0006, 0.005);
  const auto found = feed.Of(IncidentKind::kDivergence);
  ASSERT_FALSE(found.empty());
  EXPECT_LE(found.front().step, Step{1000});
  EXPECT_EQ(found.back().advice, Advice::kRollback);
  EXPECT_EQ(found.back().severity, Severity::kCritical);
  EXPECT_GE(found.back().onset_step, Step{760});
  EXPECT_LE(found.back().onset_step, Step{870});
  EXPECT_EQ(found.back().rollback.below.value,
            found.back().onset_step.value - 100);
}

TEST(DivergenceTest, WithACalmNormItIsReportedOnly) {
  CurveFeed feed;
  FeedDivergence(&feed, 0.0006, 0);
  const auto found = feed.Of(IncidentKind::kDivergence);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].advice, Advice::kReport);
}

TEST(DivergenceTest, IsClearedWhenTheLossComesBack) {
  CurveFeed feed;
  FeedDivergence(&feed, 0.0006, 0);
  for (std::int64_t i = 0; i < 600; ++i) feed.Loss(3 + 0.03 * Wiggle(i));
  EXPECT_EQ(feed.Cleared(IncidentKind::kDivergence), 1);
}

TEST(PlateauTest, IsToldForInformationAndClearedWhenTheLossFalls) {
  CurveFeed feed;
  std::int64_t i = 0;
  for (; i < 5000; ++i) feed.Loss(3 + 0.03 * Wiggle(i));
  ASSERT_THAT(feed.verdicts.findings, SizeIs(1));
  EXPECT_EQ(feed.verdicts.findings[0].kind, IncidentKind::kPlateau);
  EXPECT_EQ(feed.verdicts.findings[0].severity, Severity::kInfo);
  for (std::int64_t k = 0; k < 4000; ++k, ++i) {
    feed.Loss(3 + 0.03 * Wiggle(i) - 5e-5 * static_cast<double>(k));
  }
  EXPECT_EQ(feed.Cleared(IncidentKind::kPlateau), 1);
  EXPECT_THAT(feed.verdicts.findings, SizeIs(1));
}

TEST(PlateauTest, ASlowFallIsNone) {
  CurveFeed feed;
  for (std::int64_t i = 0; i < 9000; ++i) {
    feed.Loss(3 + 0.03 * Wiggle(i) - 3e-6 * static_cast<double>(i));
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

TEST(LossScaleTest, HealthyScalingAndTheFirstSearchAreNone) {
  CurveFeed feed;
  for (double scale = 4294967296.0; scale > 32768; scale /= 2) {
    feed.Scale(scale);
  }
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 1000; ++i) feed.Scale(65536);
    for (int i = 0; i < 500; ++i) feed.Scale(32768);
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

TEST(LossScaleTest, ACollapseIsToldThenItsEndThenRecovery) {
  CurveFeed feed;
  for (int i = 0; i < 200; ++i) feed.Scale(65536);
  double scale = 65536;
  for (int i = 0; i < 16; ++i) {
    scale /= 2;
    for (int k = 0; k < 3; ++k) feed.Scale(scale);
  }
  ASSERT_THAT(feed.verdicts.findings, SizeIs(2));
  EXPECT_EQ(feed.verdicts.findings[0].severity, Severity::kWarning);
  EXPECT_EQ(feed.verdicts.findings[0].onset_step, Step{199});
  EXPECT_EQ(feed.verdicts.findings[0].step, Step{209});  // 65536 / 16.
  EXPECT_EQ(feed.verdicts.findings[1].severity, Severity::kCritical);
  for (int i = 0; i < 10; ++i) feed.Scale(4);
  EXPECT_EQ(feed.Cleared(IncidentKind::kLossScale), 1);
}

}  // namespace
}  // namespace steadyrun
