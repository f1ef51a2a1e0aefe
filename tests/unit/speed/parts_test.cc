// The parts the detectors of speed are made of.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "server/detect/speed/change_point.h"
#include "server/detect/speed/cusum_bank.h"
#include "server/detect/speed/level_watch.h"
#include "server/detect/speed/slow_groups.h"
#include "server/detect/speed/window_medians.h"
#include "server/detect/speed/work_model.h"
#include "tests/unit/speed/step_rig.h"

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST(WindowMediansTest, AreTheMediansOfTheLastTwenty) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  for (const std::size_t ranks : {1, 15, 16, 17, 100}) {
    WindowMedians windows;
    windows.Reset(ranks);
    std::vector<std::vector<float>> history;
    for (int step = 0; step < 57; ++step) {
      std::vector<float> values(ranks);
      for (float& value : values) value = normal(random);
      std::ranges::copy(values, windows.Next().begin());
      windows.Commit();
      history.push_back(values);
      for (std::size_t part = 0; part < 3; ++part) windows.Compute(part, 3);
      if (history.size() < WindowMedians::kWindow) {
        EXPECT_EQ(windows.Medians()[0], 0);
        continue;
      }
      for (std::size_t r = 0; r < ranks; ++r) {
        std::vector<float> window;
        for (std::size_t i = history.size() - 20; i < history.size(); ++i) {
          window.push_back(history[i][r]);
        }
        std::ranges::sort(window);
        ASSERT_EQ(windows.Medians()[r], (window[9] + window[10]) / 2);
      }
      EXPECT_FLOAT_EQ(windows.MeanOfLast(0, 2),
                      (history.back()[0] + history[history.size() - 2][0]) / 2);
    }
  }
}

TEST(CusumBankTest, RaisesOnceNamesTheOnsetAndCalmsInBoundedTime) {
  CusumBank bank;
  bank.Reset(2);
  const CusumLimits limits{0.1f, 0.02f, 0.5f};
  std::vector<std::size_t> raised;
  std::vector<std::size_t> calmed;
  std::int64_t step = 0;
  const auto add = [&](float a, float b) {
    const float x[] = {a, b};
    bank.Add(0, x, limits, Step{++step}, &raised, &calmed);
  };
  for (int i = 0; i < 50; ++i) add(0, 0.02f);
  for (int i = 0; i < 1000; ++i) add(0, 5);
  EXPECT_THAT(raised, ElementsAre(1u));
  EXPECT_EQ(bank.Onset(1), Step{51});
  EXPECT_TRUE(bank.IsRaised(1));
  EXPECT_FALSE(bank.IsRaised(0));
  for (int i = 0; i < 52 && calmed.empty(); ++i) add(0, 0);
  EXPECT_THAT(calmed, ElementsAre(1u));
  EXPECT_FALSE(bank.IsRaised(1));
}

TEST(ChangePointTest, KnowsWhenTheLevelChangedAndForgets) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> noise(0, 0.01);
  ChangePoint change(0.02);
  double highest = 0;
  for (int i = 0; i < 1000; ++i) {
    change.Add(noise(random));
    if (i > 20) highest = std::max(highest, change.Recent(5));
  }
  EXPECT_LT(highest, 0.9);  // What LevelWatch asks for.
  for (int i = 0; i < 3; ++i) change.Add(0.2 + noise(random));
  EXPECT_GT(change.Recent(5), 0.99);
  EXPECT_EQ(change.LikeliestLength(), 3u);
  for (int i = 0; i < 30; ++i) change.Add(0.2 + noise(random));
  EXPECT_LT(change.Recent(5), 0.1);
  EXPECT_EQ(change.LikeliestLength(), 33u);
}

TEST(ChangePointTest, OneOutlierIsNoNewLevel) {
  ChangePoint change(0.02);
  std::mt19937_64 random(6);
  std::normal_distribution<double> noise(0, 0.01);
  for (int i = 0; i < 300; ++i) change.Add(i == 200 ? 3 : noise(random));
  EXPECT_LT(change.Recent(5), 0.1);
}

TEST(ChangePointTest, StaysFiniteOnExtremeSeries) {
  ChangePoint change(0.02);
  for (int i = 0; i < 1000; ++i) {
    change.Add(i % 50 == 0 ? 700 : i % 2 == 0 ? -700 : 0);
    ASSERT_TRUE(std::isfinite(change.Recent(5)));
    ASSERT_LE(change.LikeliestLength(), ChangePoint::kMost);
  }
  change.Reset();
  for (int i = 0; i < 1000; ++i) {
    change.Add(1);
    ASSERT_TRUE(std::isfinite(change.Recent(5)));
  }
}

TEST(LevelWatchTest, SaysBeforeAfterAndOnset) {
  LevelWatch level(0.10);
  std::mt19937_64 random(7);
  std::normal_distribution<double> noise(1, 0.02);
  std::optional<LevelWatch::Change> change;
  for (int i = 1; i <= 400 && !change; ++i) {
    change = level.Add(Step{i}, (i > 302 ? 1.25 : 1.0) * noise(random));
  }
  ASSERT_TRUE(change.has_value());
  EXPECT_NEAR(change->before, 1, 0.02);
  EXPECT_NEAR(change->after, 1.25, 0.03);
  EXPECT_EQ(change->onset, Step{301});  // Of the block.
  EXPECT_NEAR(*level.Blocks().RatioSince(change->onset), 1.25, 0.04);
  EXPECT_FALSE(level.Blocks().RatioSince(Step{1}).has_value());
}

TEST(WorkModelTest, LearnsTheCostOfTokensAndOfSquares) {
  WorkModel model;
  std::mt19937_64 random(8);
  std::normal_distribution<float> normal;
  for (int step = 0; step < 50; ++step) {
    std::vector<float> compute(64);
    std::vector<float> tokens(64);
    std::vector<float> squares(64);
    for (std::size_t r = 0; r < 64; ++r) {
      tokens[r] = 4096 * (1 + 0.2f * normal(random));
      squares[r] = 1e7f * (1 + 0.3f * normal(random));
      compute[r] = 0.3f + 1e-4f * tokens[r] + 2e-8f * squares[r];
      compute[r] *= 1 + 0.01f * normal(random);
      if (r == 5) compute[r] *= 1.5f;  // Slow, and not to be learnt.
    }
    compute[7] = AbsentValue();
    tokens[8] = std::numeric_limits<float>::infinity();
    model.Learn(compute, tokens, squares);
  }
  ASSERT_TRUE(model.IsReady());
  for (const float tokens : {3000.0f, 4096.0f, 5000.0f}) {
    for (const float squares : {7e6f, 1e7f, 1.3e7f}) {
      const float truth = 0.3f + 1e-4f * tokens + 2e-8f * squares;
      EXPECT_NEAR(model.Predict(tokens, squares) / truth, 1, 0.01);
    }
  }
  EXPECT_GT(model.Predict(0, 0), 0);
  EXPECT_TRUE(std::isfinite(model.Predict(1e30f, 1e30f)));
}

TEST(WorkModelTest, EqualTokensAreNoProblem) {
  WorkModel model;
  const std::vector<float> tokens(8, 4096);
  const std::vector<float> compute(8, 2);
  for (int i = 0; i < 100; ++i) model.Learn(compute, tokens, {});
  EXPECT_NEAR(model.Predict(4096, 0), 2, 1e-3);
  WorkModel empty;
  empty.Learn({}, {}, {});
  empty.Learn(std::vector<float>(8, AbsentValue()), tokens, {});
  EXPECT_FALSE(empty.IsReady());
}

TEST(SlowGroupsTest, RankNodeGroupAndMany) {
  const WatchedWorld world(RigAttempt(256), {.tensor = 16, .pipeline = 4});
  const auto names = [&](const std::vector<std::size_t>& slow) {
    std::vector<std::string> all;
    for (const SlowGroup& group : GroupSlowRanks(slow, world)) {
      all.push_back(group.name);
    }
    return all;
  };
  EXPECT_THAT(names({}), IsEmpty());
  EXPECT_THAT(names({9}), ElementsAre("rank 9 on n1"));
  EXPECT_THAT(names({9, 11, 30}),
              ElementsAre("node n1 (2 of 8 ranks)", "rank 30 on n3"));
  // A tensor group of 16 over two nodes, three quarters of it.
  EXPECT_THAT(names({16, 17, 18, 19, 20, 21, 24, 25, 26, 27, 28, 29}),
              ElementsAre("the tensor group of replica 1 in stage 0"));
  std::vector<std::size_t> scattered;
  for (std::size_t r = 0; r < 256; r += 32) scattered.push_back(r);
  const auto many = GroupSlowRanks(scattered, world);
  ASSERT_THAT(many, SizeIs(1));
  EXPECT_EQ(many[0].shape, SlowGroup::Shape::kMany);
  EXPECT_EQ(many[0].culprit, Culprit());
  EXPECT_EQ(many[0].name, "8 ranks on 8 nodes");
}

}  // namespace
}  // namespace steadyrun
