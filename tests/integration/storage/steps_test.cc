// Steps: packing, late ranks, lineage across attempts, the pyramid, retention.

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "server/storage/step_codec.h"
#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

constexpr auto kStepSeconds = static_cast<std::uint32_t>(Metric::kStepSeconds);
constexpr auto kLoss = static_cast<std::uint32_t>(Metric::kLoss);

PackedStep EncodeAndDecode(const StepRow& row) {
  std::string bytes;
  EncodeStep(row, row.metrics, &bytes);
  absl::StatusOr<PackedStep> step = DecodeStep(bytes);
  EXPECT_TRUE(step.ok()) << step.status();
  return step.ok() ? *std::move(step) : PackedStep{};
}

StepRow OneColumn(std::uint32_t metric, std::vector<float> values) {
  StepRow row;
  row.world_size = static_cast<std::int32_t>(values.size());
  row.metrics = {metric};
  row.values = std::move(values);
  return row;
}

TEST(StepCodecTest, LossesAreExactToTheBit) {
  const float payload = std::bit_cast<float>(0x7fc12345u);
  const StepRow row = OneColumn(
      kLoss, {1.0F, -0.0F, std::numeric_limits<float>::denorm_min(), payload,
              AbsentValue(), -std::numeric_limits<float>::infinity()});
  const PackedStep step = EncodeAndDecode(row);
  ASSERT_EQ(step.values.size(), row.values.size());
  for (std::size_t i = 0; i < row.values.size(); ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(step.values[i]),
              std::bit_cast<std::uint32_t>(row.values[i]));
  }
}

TEST(StepCodecTest, TimingsTakeTwoBytesAndAreOffByATinyFraction) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<float> seconds(-2, 3);
  std::vector<float> values;
  for (int i = 0; i < 1000; ++i) {
    values.push_back(std::clamp(seconds(random), 2e-6F, 3600.0F));
  }
  values[3] = AbsentValue();
  values[4] = 0.0F;
  StepRow row = OneColumn(kStepSeconds, values);
  std::string bytes;
  EncodeStep(row, row.metrics, &bytes);
  EXPECT_LT(bytes.size(), 2u * values.size() + 32);
  const PackedStep step = EncodeAndDecode(row);
  EXPECT_TRUE(IsAbsent(step.values[3]));
  EXPECT_EQ(step.values[4], 0.0F);
  for (std::size_t i = 5; i < values.size(); ++i) {
    EXPECT_NEAR(step.values[i] / values[i], 1.0, kStoredSecondsError) << i;
  }
}

TEST(StepCodecTest, OddTimingsAreKeptExactly) {
  const StepRow row =
      OneColumn(kStepSeconds, {-1.0F, std::nanf(""), 1e9F, 1e-9F, 0.1F});
  const PackedStep step = EncodeAndDecode(row);
  EXPECT_EQ(step.values[0], -1.0F);
  EXPECT_TRUE(std::isnan(step.values[1]));
  EXPECT_EQ(step.values[2], 1e9F);
  EXPECT_EQ(step.values[3], 1e-9F);
  EXPECT_EQ(step.values[4], 0.1F);
}

TEST(StepCodecTest, ConstantColumnsCostNothingPerRank) {
  StepRow row = OneColumn(kLoss, std::vector<float>(4096, 2.5F));
  std::string bytes;
  EncodeStep(row, row.metrics, &bytes);
  EXPECT_LT(bytes.size(), 32u);
  EXPECT_EQ(EncodeAndDecode(row).values, row.values);
}

TEST(StepCodecTest, DamagedBytesAreRefusedNeverRead) {
  std::string good;
  const StepRow row = MakeStep("r", 1, 5, 16);
  EncodeStep(row, row.metrics, &good);
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(DecodeStep(good.substr(0, size)).ok()) << size;
  }
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    bytes[random() % bytes.size()] = static_cast<char>(random());
    DecodeStep(bytes).status().IgnoreError();
    DecodeValue(bytes, kLoss, static_cast<std::int32_t>(random() % 32))
        .status()
        .IgnoreError();
  }
}

class StepsTest : public StoreTest {
 protected:
  void SetUp() override {
    Open();
    Apply({MakeRun("r")});
  }
  void ApplySteps(std::int64_t attempt, std::int64_t from, std::int64_t to,
                  std::int32_t ranks = 2) {
    std::vector<Change> changes;
    for (std::int64_t step = from; step <= to; ++step) {
      changes.push_back(MakeStep("r", attempt, step, ranks));
      if (changes.size() == 1000) Apply(std::exchange(changes, {}));
    }
    Apply(std::move(changes));
  }
  std::vector<StepBucket> Curve(std::int32_t max_buckets, std::int64_t from = 0,
                                Step to = kNoStep) {
    auto curve = store_->history().Steps(
        {.run = "r", .from = Step{from}, .to = to, .max_buckets = max_buckets});
    EXPECT_TRUE(curve.ok()) << curve.status();
    return curve.ok() ? *std::move(curve) : std::vector<StepBucket>{};
  }
};

TEST_F(StepsTest, AStepComesBackWithAllRanksAndNames) {
  StepRow row = MakeStep("r", 1, 10, 4);
  row.metrics.push_back(kFirstNamedMetric);
  row.metrics.push_back(kFirstNamedMetric + 1);
  row.names = {"kl", "reward/mean"};
  row.values.insert(row.values.end(), {1, 2, 3, 4, 5, 6, 7, AbsentValue()});
  Apply({row});
  const auto stored = store_->history().FindStep("r", Step{10});
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->run, "r");
  EXPECT_EQ(stored->attempt, AttemptId{1});
  EXPECT_EQ(stored->names, row.names);
  EXPECT_EQ(stored->metrics, row.metrics);
  EXPECT_EQ(stored->loss, row.loss);
  EXPECT_EQ(stored->slowest_rank, row.slowest_rank);
  EXPECT_EQ(stored->ended, row.ended);
  ASSERT_EQ(stored->values.size(), row.values.size());
  for (std::size_t i = 0; i < row.values.size(); ++i) {
    if (IsAbsent(row.values[i])) {
      EXPECT_TRUE(IsAbsent(stored->values[i]));
    } else {
      EXPECT_NEAR(stored->values[i], row.values[i], 1e-3) << i;
    }
  }
  EXPECT_TRUE(
      absl::IsNotFound(store_->history().FindStep("r", Step{11}).status()));
}

TEST_F(StepsTest, RowsOfAllAttemptsComeInPages) {
  ApplySteps(1, 0, 9);
  ApplySteps(2, 5, 11);
  Apply({MakeStep("other", 1, 3, 2)});
  std::vector<std::pair<std::int64_t, std::int64_t>> seen;
  RowQuery query{.run = "r", .limit = 4};
  for (int pages = 0; pages < 20; ++pages) {
    const auto page = store_->history().Rows(query);
    ASSERT_TRUE(page.ok()) << page.status();
    ASSERT_LE(page->size(), 4u);
    if (page->empty()) break;
    for (const StepRow& row : *page) {
      EXPECT_EQ(row.run, "r");
      EXPECT_EQ(row.world_size, 2);
      EXPECT_GT(row.loss, 0);
      seen.emplace_back(row.attempt.value, row.step.value);
    }
    query.attempt = page->back().attempt;
    query.step = page->back().step;
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> all;
  for (std::int64_t step = 0; step <= 9; ++step) all.emplace_back(1, step);
  for (std::int64_t step = 5; step <= 11; ++step) all.emplace_back(2, step);
  EXPECT_EQ(seen, all);
  // From an attempt on.
  const auto later = store_->history().Rows({.run = "r", .attempt = {2}});
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(later->size(), 7u);
  EXPECT_TRUE(store_->history().Rows({.run = "none"})->empty());
}

TEST_F(StepsTest, LateRanksAreMergedInAndRepetitionsChangeNothing) {
  const StepRow whole = MakeStep("r", 1, 5, 4);
  StepRow early = whole;
  StepRow late = whole;
  early.is_complete = false;
  for (std::size_t i = 0; i < whole.values.size(); ++i) {
    (i % 4 < 2 ? late : early).values[i] = AbsentValue();
  }
  Summarize(&early);
  Summarize(&late);
  Apply({early, MakeStep("r", 1, 6, 4)});
  Apply({late});
  Apply({late});
  StepRow contradiction = late;
  for (float& value : contradiction.values) value = 1e6F;
  Apply({contradiction});
  const auto stored = store_->history().FindStep("r", Step{5});
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_TRUE(stored->is_complete);
  EXPECT_NEAR(stored->loss, whole.loss, 1e-6);
  EXPECT_EQ(stored->slowest_rank, whole.slowest_rank);
  EXPECT_EQ(stored->tokens, whole.tokens);
}

TEST_F(StepsTest, LateRowsSurviveARestartOfTheServer) {
  StepRow early = MakeStep("r", 1, 5, 2);
  early.values[0] = early.values[2] = early.values[4] = early.values[6] =
      AbsentValue();
  early.is_complete = false;
  Summarize(&early);
  Apply({early, MakeStep("r", 1, 6, 2)});
  Open();
  Apply({MakeStep("r", 1, 5, 2)});
  EXPECT_TRUE(store_->history().FindStep("r", Step{5})->is_complete);
}

TEST_F(StepsTest, NanIsAValueOfTheCurve) {
  StepRow row = MakeStep("r", 1, 1, 2);
  row.values[2] = std::nanf("");
  Summarize(&row);
  ASSERT_TRUE(std::isnan(row.loss));
  Apply({MakeStep("r", 1, 0, 2), row, MakeStep("r", 1, 2, 2)});
  const std::vector<StepBucket> steps = Curve(100);
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_TRUE(std::isnan(steps[1].loss));
  EXPECT_EQ(steps[1].nonfinite, 1);
  const std::vector<StepBucket> one = Curve(1);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_TRUE(std::isfinite(one[0].loss));
  EXPECT_EQ(one[0].nonfinite, 1);
  EXPECT_EQ(one[0].steps, 3);
}

TEST_F(StepsTest, StepsMadeAgainCountAsTheNewestAttemptMadeThem) {
  ApplySteps(1, 0, 99);
  ApplySteps(2, 60, 79);  // Rolled back, then failed early.
  ApplySteps(3, 70, 120);
  const std::vector<StepBucket> curve = Curve(1000);
  ASSERT_EQ(curve.size(), 121u);
  for (std::size_t i = 0; i < curve.size(); ++i) {
    EXPECT_EQ(curve[i].first, Step{static_cast<std::int64_t>(i)});
    const std::int64_t attempt = i < 60 ? 1 : i < 70 ? 2 : 3;
    EXPECT_EQ(curve[i].attempt, AttemptId{attempt}) << i;
  }
}

TEST_F(StepsTest, WhatWasMadeAgainIsTheAbandonedCurve) {
  ApplySteps(1, 0, 99);
  ApplySteps(2, 60, 79);
  ApplySteps(3, 70, 120);
  auto gone = store_->history().Steps({.run = "r", .abandoned = true});
  ASSERT_TRUE(gone.ok()) << gone.status();
  // Attempt 1 lost 60 to 99, attempt 2 70 to 79.
  std::map<std::int64_t, std::int64_t> steps;
  for (const StepBucket& bucket : *gone) {
    steps[bucket.attempt.value] += bucket.steps;
    EXPECT_GE(bucket.first, Step{60});
    EXPECT_LE(bucket.last, Step{99});
  }
  EXPECT_THAT(steps, testing::ElementsAre(std::pair{1, 40}, std::pair{2, 10}));
}

TEST_F(StepsTest, OneSlowRankOfManySurvivesThePooling) {
  std::vector<Change> changes;
  for (std::int64_t step = 0; step < 100; ++step) {
    StepRow row;
    row.run = "r";
    row.attempt = {1};
    row.step = {step};
    row.world_size = 1000;
    row.metrics = {kStepSeconds};
    row.values.assign(1000, 1.0F);
    if (step == 55) row.values[613] = 1.42F;
    row.values[7] = AbsentValue();
    Summarize(&row);
    changes.push_back(row);
  }
  Apply(std::move(changes));
  auto matrix = store_->history().Matrix(
      {.run = "r", .max_rows = 100, .max_columns = 10});
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->rows, 100);
  EXPECT_EQ(matrix->columns, 10);
  EXPECT_EQ(matrix->ranks_per_row, 10);
  EXPECT_EQ(matrix->steps_per_column, 10);
  ASSERT_EQ(matrix->cells.size(), 1000u);
  for (std::size_t i = 0; i < 1000; ++i) {
    const auto cell = static_cast<unsigned char>(matrix->cells[i]);
    EXPECT_NEAR(cell, i == 61 * 10 + 5 ? 221 : 43, 1) << i;
  }
  ASSERT_EQ(matrix->slowest.size(), RankMatrix::kSlowest);
  EXPECT_EQ(matrix->slowest[0].rank, 613);
  EXPECT_NEAR(matrix->slowest[0].worst_ratio, 1.42, 0.001);
  EXPECT_EQ(matrix->slowest[0].worst_step, Step{55});
  // A rank each row: the one that reported nothing has cells of its own.
  matrix = store_->history().Matrix({.run = "r", .max_rows = 1000});
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->cells[7 * 100], '\0');
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->history().Matrix({.run = "r", .max_rows = 0}).status()));
  EXPECT_EQ(store_->history().Matrix({.run = "other"})->rows, 0);
}

TEST_F(StepsTest, ANamedMetricHasItsRangeOverRanksAndSteps) {
  std::vector<Change> changes;
  for (std::int64_t step = 0; step < 40; ++step) {
    StepRow row;
    row.run = "r";
    row.attempt = {1};
    row.step = {step};
    row.world_size = 2;
    row.metrics = {kStepSeconds, kFirstNamedMetric};
    row.names = {"reward/mean"};
    row.values = {1, 1, static_cast<float>(step), AbsentValue()};
    if (step == 12) row.values[3] = std::numeric_limits<float>::infinity();
    Summarize(&row);
    changes.push_back(row);
  }
  Apply(std::move(changes));
  EXPECT_THAT(*store_->history().Metrics("r"),
              testing::ElementsAre("reward/mean", "step_seconds"));
  const auto curve = store_->history().MetricSeries(
      {.run = "r", .name = "reward/mean", .max_buckets = 4});
  ASSERT_TRUE(curve.ok()) << curve.status();
  ASSERT_EQ(curve->buckets.size(), 4u);
  EXPECT_EQ(curve->buckets[1].min, 10);
  EXPECT_EQ(curve->buckets[1].max, 19);
  EXPECT_EQ(curve->buckets[1].mean, 14.5);
  EXPECT_EQ(curve->buckets[1].nonfinite, 1);
  EXPECT_TRUE(absl::IsNotFound(
      store_->history().MetricSeries({.run = "r", .name = "no"}).status()));
}

TEST_F(StepsTest, AnEarlierRunOfTheSameNameIsLeftOut) {
  ApplySteps(1, 0, 99);
  ApplySteps(2, 0, 9);
  RunState again = MakeRun("r");
  again.first_attempt = AttemptId{2};
  Apply({again});
  EXPECT_EQ(Curve(1000).size(), 10u);
}

TEST_F(StepsTest, AttemptsThatLeaveAHoleBetweenThem) {
  ApplySteps(1, 0, 99);
  ApplySteps(2, 80, 89);
  ApplySteps(3, 20, 29);
  const std::vector<StepBucket> curve = Curve(1000);
  ASSERT_EQ(curve.size(), 100u);
  EXPECT_EQ(curve[25].attempt, AttemptId{3});
  EXPECT_EQ(curve[50].attempt, AttemptId{1});
  EXPECT_EQ(curve[85].attempt, AttemptId{2});
  EXPECT_EQ(curve[95].attempt, AttemptId{1});
}

// The same curve before and after the pyramid is built, at every width.
TEST_F(StepsTest, ThePyramidDrawsTheSameCurveAsTheSteps) {
  ApplySteps(1, 0, 3000);
  ApplySteps(2, 2000, 6000);
  std::vector<std::vector<StepBucket>> before;
  const std::vector<std::int32_t> widths = {5, 17, 100, 400, 7000};
  for (const std::int32_t width : widths) before.push_back(Curve(width));
  RunMaintenance();
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const std::vector<StepBucket> after = Curve(widths[i]);
    std::int64_t steps = 0;
    double tokens = 0;
    double loss = 0;
    double loss_before = 0;
    for (const StepBucket& bucket : after) {
      steps += bucket.steps;
      tokens += bucket.tokens;
      loss += bucket.loss * static_cast<double>(bucket.steps);
    }
    for (const StepBucket& bucket : before[i]) {
      loss_before += bucket.loss * static_cast<double>(bucket.steps);
    }
    EXPECT_EQ(steps, 6001) << widths[i];
    EXPECT_DOUBLE_EQ(tokens, 6001.0 * 2 * 2048);
    EXPECT_NEAR(loss, loss_before, 1e-6 * loss_before);
    EXPECT_LE(after.size(), static_cast<std::size_t>(widths[i]) + 1);
  }
  EXPECT_EQ(Curve(7000).size(), 6001u);
}

TEST_F(StepsTest, ARowThatComesAfterTheRollUpIsRolledUpAgain) {
  std::vector<Change> changes;
  for (std::int64_t step = 0; step < 1000; ++step) {
    if (step != 100) changes.push_back(MakeStep("r", 1, step, 2));
  }
  Apply(std::move(changes));
  RunMaintenance();
  StepRow late = MakeStep("r", 1, 100, 2);
  late.step_seconds_max = 77;
  Apply({late});
  RunMaintenance();
  std::int64_t steps = 0;
  double slowest = 0;
  for (const StepBucket& bucket : Curve(3)) {
    steps += bucket.steps;
    slowest = std::max(slowest, bucket.step_seconds_max);
  }
  EXPECT_EQ(steps, 1000);
  EXPECT_EQ(slowest, 77);
}

TEST_F(StepsTest, RetentionDropsOldRanksAndKeepsTheCurve) {
  options_.maintenance.rollup.keep_step_rows = 500;
  Open();
  ApplySteps(1, 0, 2999);
  const std::vector<StepBucket> before = Curve(10'000);
  RunMaintenance();
  EXPECT_TRUE(
      absl::IsNotFound(store_->history().FindStep("r", Step{2000}).status()));
  EXPECT_TRUE(store_->history().FindStep("r", Step{2600}).ok());
  EXPECT_EQ(Curve(10'000).size(), before.size());
  // A row that late finds its summary, and does not undo the retention.
  Apply({MakeStep("r", 1, 1000, 2)});
  EXPECT_TRUE(
      absl::IsNotFound(store_->history().FindStep("r", Step{1000}).status()));
}

TEST_F(StepsTest, AnAttemptThatStartsFarOutIsRolledUpAtOnce) {
  ApplySteps(1, 900'000'000, 900'000'999);
  RunMaintenance();
  std::int64_t steps = 0;
  for (const StepBucket& bucket : Curve(4)) steps += bucket.steps;
  EXPECT_EQ(steps, 1000);
}

TEST_F(StepsTest, ARanksSeriesFollowsTheLineage) {
  ApplySteps(1, 0, 99, 4);
  ApplySteps(2, 50, 120, 4);
  const auto series = store_->history().RankSeries(
      {.run = "r", .rank = Rank{2}, .metric = Metric::kLoss, .from = Step{40}});
  ASSERT_TRUE(series.ok()) << series.status();
  ASSERT_EQ(series->size(), 81u);
  EXPECT_EQ(series->front().step, Step{40});
  EXPECT_EQ(series->front().attempt, AttemptId{1});
  EXPECT_EQ(series->back().step, Step{120});
  EXPECT_EQ(series->back().value, MakeStep("r", 2, 120, 4).values[4 + 2]);
}

TEST_F(StepsTest, TooManyBucketsAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->history()
          .Steps({.run = "r", .max_buckets = kMaxBuckets + 1})
          .status()));
  EXPECT_TRUE(Curve(10).empty());
}

}  // namespace
}  // namespace steadyrun
