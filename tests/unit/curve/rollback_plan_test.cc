#include "server/detect/curve/rollback_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/curve/curve_feed.h"

namespace steadyrun {
namespace {

using testing::SizeIs;

RollbackAnswer Event(RollbackPlanner* planner, std::int64_t attempt,
                     std::int64_t onset) {
  return planner->Malignant(AttemptId{attempt}, Step{onset}, Step{onset + 100},
                            1);
}

TEST(RollbackPlanTest, SkipsThenLowersTheLearningRateThenHalts) {
  RollbackPlanner planner{RollbackOptions()};
  const RollbackAnswer first = Event(&planner, 1, 5000);
  EXPECT_EQ(first.advice, Advice::kRollback);
  EXPECT_EQ(first.plan, (RollbackPlan{Step{4900}, Step{4990}, Step{5200}, 1}));
  const RollbackAnswer second = Event(&planner, 2, 6500);
  EXPECT_EQ(second.advice, Advice::kRollback);
  EXPECT_EQ(second.plan, (RollbackPlan{Step{6400}, kNoStep, kNoStep, 0.9}));
  const RollbackAnswer third = Event(&planner, 3, 8000);
  EXPECT_EQ(third.advice, Advice::kHalt);
  // Where to go back to, when a person decides so.
  EXPECT_EQ(third.plan.below, Step{7900});
  EXPECT_EQ(third.plan.skip_from, kNoStep);
}

TEST(RollbackPlanTest, FarApartTheyAreEachTheFirst) {
  RollbackPlanner planner{RollbackOptions()};
  for (std::int64_t i = 1; i < 5; ++i) {
    const RollbackAnswer answer = Event(&planner, i, 5000 * i);
    EXPECT_EQ(answer.advice, Advice::kRollback);
    EXPECT_EQ(answer.plan.learning_rate_factor, 1);
  }
}

TEST(RollbackPlanTest, TheSecondReductionOfARunIsTheStronger) {
  RollbackPlanner planner{RollbackOptions()};
  Event(&planner, 1, 5000);
  EXPECT_EQ(Event(&planner, 2, 5500).plan.learning_rate_factor, 0.9);
  Event(&planner, 3, 20'000);
  EXPECT_EQ(Event(&planner, 4, 20'500).plan.learning_rate_factor, 2.0 / 3);
}

TEST(RollbackPlanTest, OneEventSeenTwiceCountsOnce) {
  RollbackPlanner planner{RollbackOptions()};
  const RollbackAnswer first = Event(&planner, 1, 5000);
  const CurveHistory history = planner.History();
  const RollbackAnswer again = Event(&planner, 1, 5060);
  EXPECT_EQ(again.plan, first.plan);
  EXPECT_EQ(planner.History(), history);
  // In another attempt the same steps are another event.
  EXPECT_EQ(Event(&planner, 2, 5000).plan.learning_rate_factor, 0.9);
}

TEST(RollbackPlanTest, TheWindowToSkipEndsAtTheVerdictWithinItsBounds) {
  RollbackPlanner planner{RollbackOptions()};
  EXPECT_EQ(planner.Malignant(AttemptId{1}, Step{50}, Step{400}, 1).plan,
            (RollbackPlan{Step{0}, Step{40}, Step{400}, 1}));
  EXPECT_EQ(
      planner.Malignant(AttemptId{1}, Step{9000}, Step{9900}, 1).plan.skip_to,
      Step{9500});
}

// The trend begins anew with each attempt, the count of events does not.
TEST(RollbackPlanTest, TheCountOutlivesAttemptsAndServices) {
  const auto one_spike = [](CurveFeed* feed) {
    for (std::int64_t i = 0; i < 300; ++i) feed->Loss(3 + 0.03 * Wiggle(i));
    for (std::int64_t i = 0; i < 130; ++i) feed->Loss(5 + 0.03 * Wiggle(i));
  };
  CurveFeed feed;
  one_spike(&feed);
  feed.Begin("run", 2);
  feed.step = 250;
  one_spike(&feed);
  const auto kind = IncidentKind::kLossSpike;
  ASSERT_THAT(feed.Of(kind), SizeIs(4));
  EXPECT_EQ(feed.Of(kind)[3].rollback.learning_rate_factor, 0.9);

  CurveFeed restarted;
  restarted.Begin("run", 3);
  restarted.Watch().Restore(feed.Watch().History());
  restarted.step = 450;
  one_spike(&restarted);
  ASSERT_THAT(restarted.Of(kind), SizeIs(2));
  EXPECT_EQ(restarted.Of(kind)[1].advice, Advice::kHalt);

  feed.Begin("another run", 1);
  EXPECT_EQ(feed.Watch().History(), CurveHistory());
}

}  // namespace
}  // namespace steadyrun
