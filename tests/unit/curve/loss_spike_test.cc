#include "server/detect/curve/loss_spike.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/curve/curve_feed.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr auto kSpike = IncidentKind::kLossSpike;

double Healthy(std::int64_t i) { return 3 + 0.03 * Wiggle(i); }

void FeedHealthy(CurveFeed* feed, std::int64_t points) {
  for (std::int64_t i = 0; i < points; ++i) feed->Loss(Healthy(i));
}

// A run whose loss stays up from its 400th point on.
void FeedMalignant(CurveFeed* feed) {
  FeedHealthy(feed, 400);
  for (std::int64_t i = 0; i < 130; ++i) feed->Loss(5 + 0.03 * Wiggle(i));
}

TEST(LossSpikeTest, ASpikeThatComesBackIsReportedAndCleared) {
  CurveFeed feed;
  FeedHealthy(&feed, 400);
  for (const double loss : {3.6, 4.2, 5.0, 4.4, 3.9, 3.6, 3.4, 3.2}) {
    feed.Loss(loss);
  }
  FeedHealthy(&feed, 60);
  ASSERT_THAT(feed.Of(kSpike), SizeIs(1));
  const Finding finding = feed.Of(kSpike)[0];
  EXPECT_EQ(finding.onset_step, Step{400});
  EXPECT_EQ(finding.step, Step{402});
  EXPECT_EQ(finding.severity, Severity::kWarning);
  EXPECT_EQ(finding.advice, Advice::kReport);
  EXPECT_EQ(finding.detector, "loss_spike");
  EXPECT_EQ(feed.Cleared(kSpike), 1);
  EXPECT_THAT(feed.verdicts.cleared[0].reason, HasSubstr("peak 5"));
}

TEST(LossSpikeTest, OneThatStaysUpIsToldAgainWithTheWayBack) {
  CurveFeed feed;
  FeedMalignant(&feed);
  ASSERT_THAT(feed.Of(kSpike), SizeIs(2));
  const Finding finding = feed.Of(kSpike)[1];
  EXPECT_EQ(finding.severity, Severity::kCritical);
  EXPECT_EQ(finding.advice, Advice::kRollback);
  EXPECT_EQ(finding.onset_step, Step{400});
  EXPECT_EQ(finding.rollback.below, Step{300});
  EXPECT_EQ(finding.rollback.skip_from, Step{390});
  EXPECT_EQ(finding.rollback.skip_to, Step{600});
  EXPECT_EQ(finding.rollback.learning_rate_factor, 1);
  EXPECT_NE(finding.signature, feed.Of(kSpike)[0].signature);
  EXPECT_EQ(feed.Cleared(kSpike), 0);
}

TEST(LossSpikeTest, AMalignantOneThatComesBackAfterAllIsCleared) {
  CurveFeed feed;
  FeedMalignant(&feed);
  FeedHealthy(&feed, 40);
  EXPECT_THAT(feed.Of(kSpike), SizeIs(2));
  EXPECT_EQ(feed.Cleared(kSpike), 1);
}

TEST(LossSpikeTest, SinglePointsAreNoise) {
  CurveFeed feed;
  for (std::int64_t i = 0; i < 2000; ++i) {
    feed.Loss(i % 50 == 49 ? 6 : Healthy(i));
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

TEST(LossSpikeTest, NothingIsSaidWhileTheTrendIsLearned) {
  CurveFeed feed;
  FeedHealthy(&feed, 100);
  for (std::int64_t i = 0; i < 20; ++i) feed.Loss(6);
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

TEST(LossSpikeTest, ASlowClimbIsFoundThoughNoPointIsHighAboveTheLast) {
  CurveFeed feed;
  FeedHealthy(&feed, 400);
  for (std::int64_t i = 0; i < 30; ++i) {
    feed.Loss(Healthy(i) + 0.01 * static_cast<double>(i));
  }
  ASSERT_THAT(feed.Of(kSpike), SizeIs(1));
  EXPECT_GE(feed.Of(kSpike)[0].onset_step, Step{398});
}

TEST(LossSpikeTest, NanIsNoPointOfTheTrendAndEndsAnOpenSpikeAsMalignant) {
  CurveFeed feed;
  FeedHealthy(&feed, 400);
  feed.Loss(kNan);
  feed.Loss(kNan);
  FeedHealthy(&feed, 50);
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
  for (int i = 0; i < 5; ++i) feed.Loss(5);
  ASSERT_THAT(feed.Of(kSpike), SizeIs(1));
  feed.Loss(kNan);
  ASSERT_THAT(feed.Of(kSpike), SizeIs(2));
  EXPECT_EQ(feed.Of(kSpike)[1].advice, Advice::kRollback);
  EXPECT_THAT(feed.Of(kSpike)[1].reason, HasSubstr("nan"));
}

// BLOOM-176B, steps 31214 to 31222 as published, at the end of its own trend:
// found at the fifth bad step, and back 30 steps later.
TEST(LossSpikeTest, TheSpikeOfBloomIsFoundAndIsBenign) {
  CurveFeed feed;
  feed.step = 31'214 - 400;
  const auto feed_point = [&feed](double loss, double norm) {
    CurvePoint point;
    point.loss = loss;
    point.grad_norm = norm;
    feed.Point(point);
  };
  for (std::int64_t i = 0; i < 400; ++i) {
    feed_point(2.21 + 0.015 * Wiggle(i), 0.2 + 0.02 * Wiggle(i * 3));
  }
  constexpr double kLosses[] = {2.198845, 2.220424, 2.595213,
                                2.241558, 2.345279, 5.098124,
                                3.492029, 3.213059, 2.804948};
  constexpr double kNorms[] = {0.242,   0.947,   2.39,   15.886, 145.119,
                               960.351, 353.201, 379.33, 650.246};
  for (int i = 0; i < 9; ++i) feed_point(kLosses[i], kNorms[i]);
  for (std::int64_t i = 0; i < 60; ++i) {
    feed_point(2.21 + 0.6 / static_cast<double>(i + 1) + 0.015 * Wiggle(i),
               0.25);
  }
  ASSERT_THAT(feed.Of(kSpike), SizeIs(1));
  EXPECT_LE(feed.Of(kSpike)[0].step, Step{31'219});
  EXPECT_EQ(feed.Of(kSpike)[0].advice, Advice::kReport);
  EXPECT_EQ(feed.Cleared(kSpike), 1);
  // Three steps before the loss jumps.
  ASSERT_THAT(feed.Of(IncidentKind::kGradExplosion), SizeIs(1));
  EXPECT_EQ(feed.Of(IncidentKind::kGradExplosion)[0].onset_step, Step{31'215});
  EXPECT_LE(feed.Of(IncidentKind::kGradExplosion)[0].step, Step{31'217});
}

TEST(LossSpikeTest, SamplesCountedAsStepsScaleTheWayBack) {
  CurveFeed feed;
  feed.stride = 64;
  FeedMalignant(&feed);
  ASSERT_THAT(feed.Of(kSpike), SizeIs(2));
  EXPECT_EQ(feed.Of(kSpike)[1].rollback.below, Step{300 * 64});
}

TEST(LossSpikeTest, ASecondJumpOnTheWayDownGetsItsOwnTime) {
  CurveFeed feed;
  FeedHealthy(&feed, 400);
  for (int i = 0; i < 80; ++i) feed.Loss(3 + 1.0 * std::exp(-i / 20.0));
  for (int i = 0; i < 90; ++i) feed.Loss(3 + 3.0 * std::exp(-i / 20.0));
  FeedHealthy(&feed, 60);
  for (const Finding& finding : feed.verdicts.findings) {
    EXPECT_LE(finding.advice, Advice::kReport) << finding.reason;
  }
  EXPECT_EQ(feed.Cleared(kSpike), static_cast<int>(feed.Of(kSpike).size()));
}

TEST(LossSpikeTest, ASmallStepThatStaysBecomesTheNewTrend) {
  CurveFeed feed;
  FeedHealthy(&feed, 400);
  // Four scales: not back, and not enough for a rollback.
  for (std::int64_t i = 0; i < 900; ++i) feed.Loss(Healthy(i) + 0.16);
  ASSERT_THAT(feed.Of(kSpike), SizeIs(1));
  EXPECT_EQ(feed.Cleared(kSpike), 1);
}

TEST(LossSpikeTest, TurnedOffItSaysNothing) {
  CurveOptions options;
  options.loss_spike.enabled = false;
  options.divergence.enabled = false;
  CurveFeed feed(options);
  FeedMalignant(&feed);
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

}  // namespace
}  // namespace steadyrun
