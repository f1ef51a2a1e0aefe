#include "replay/backtest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace steadyrun::replay {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

// Two attempts of two ranks; rank 1's loss is NaN at step 5 of the second.
Trace TwoAttempts() {
  TraceBuilder builder("test");
  const auto loss = static_cast<std::uint32_t>(Metric::kLoss);
  const auto seconds = static_cast<std::uint32_t>(Metric::kStepSeconds);
  builder.SetPlace(0, "a", "");
  builder.SetPlace(1, "b", "");
  for (std::int64_t attempt = 1; attempt <= 2; ++attempt) {
    for (std::int64_t step = 1; step <= 6; ++step) {
      for (std::int32_t rank = 0; rank < 2; ++rank) {
        TraceSample sample{.step = step, .rank = rank, .attempt = attempt};
        const bool is_bad = attempt == 2 && step == 5 && rank == 1;
        sample.values = {{loss, is_bad ? NAN : 2.5}, {seconds, 0.5}};
        EXPECT_TRUE(builder.Add(sample).ok());
      }
    }
  }
  auto trace = builder.Finish();
  EXPECT_TRUE(trace.ok());
  return *std::move(trace);
}

std::vector<BacktestFinding> OfKind(const BacktestResult& result,
                                    IncidentKind kind) {
  std::vector<BacktestFinding> found;
  for (const BacktestFinding& finding : result.findings) {
    if (finding.finding.kind == kind) found.push_back(finding);
  }
  return found;
}

TEST(BacktestTest, FindsWhatTheServiceWouldHaveFound) {
  const BacktestResult result = RunBacktest(TwoAttempts(), DefaultPolicy());
  EXPECT_EQ(result.rows, 12);
  EXPECT_EQ(result.attempts, 2);
  const auto nans = OfKind(result, IncidentKind::kNan);
  ASSERT_THAT(nans, SizeIs(1));
  const Finding& finding = nans[0].finding;
  EXPECT_EQ(finding.attempt, AttemptId{2});
  EXPECT_EQ(finding.culprit.rank, Rank{1});
  EXPECT_EQ(finding.culprit.node, "b");
  EXPECT_EQ(finding.onset_step, Step{5});
  EXPECT_EQ(nans[0].detected_step, Step{5});
  EXPECT_NEAR(nans[0].seconds, 11 * 0.5, 1e-6);
  EXPECT_EQ(nans[0].answer.text, "rollback");
  EXPECT_TRUE(nans[0].answer.acts);

  Label label;
  label.kind = "nan";
  label.onset = Step{5};
  label.end = Step{5};
  label.ranks = {Rank{1}};
  const auto score = ScoreAlarms(AlarmsOf({.findings = nans}), {label}, {});
  ASSERT_TRUE(score.ok());
  EXPECT_EQ(score->total.first_right, 1);
}

TEST(BacktestTest, ThePolicySaysWhatIsDone) {
  Finding finding;
  finding.kind = IncidentKind::kNan;
  finding.advice = Advice::kRollback;
  Policy policy = DefaultPolicy();
  policy.For(IncidentKind::kNan).mode = Mode::kAdvise;
  EXPECT_EQ(AnswerTo(policy, finding).text, "advise rollback");
  EXPECT_FALSE(AnswerTo(policy, finding).acts);
  EXPECT_EQ(AnswerTo(ObserveOnly(policy), finding).text, "observe");

  // Never more than the detector advises.
  finding.kind = IncidentKind::kLossSpike;
  policy.For(IncidentKind::kLossSpike).mode = Mode::kAct;
  policy.For(IncidentKind::kLossSpike).ladder = {Remedy::kRollback};
  EXPECT_TRUE(AnswerTo(policy, finding).acts);
  finding.advice = Advice::kReport;
  EXPECT_EQ(AnswerTo(policy, finding).text, "page");
  EXPECT_FALSE(AnswerTo(policy, finding).acts);
  finding.advice = Advice::kRecord;
  EXPECT_EQ(AnswerTo(policy, finding).text, "none");
}

TEST(TraceTest, MediansOfStrideAndTime) {
  const Trace trace = TwoAttempts();
  EXPECT_EQ(trace.StepStride(), 1);
  EXPECT_EQ(trace.StepSeconds(), 0.5);
  EXPECT_EQ(trace.Rows(), 12);
  EXPECT_EQ(Trace().StepStride(), 1);
}

TEST(TraceTest, TooManyColumnsAreLeftOut) {
  TraceBuilder builder("test");
  for (std::size_t i = 0; i < TraceBuilder::kMaxColumns; ++i) {
    ASSERT_TRUE(builder.Column("m" + std::to_string(i)));
  }
  EXPECT_FALSE(builder.Column("one more"));
  EXPECT_TRUE(builder.Column("loss"));
  EXPECT_TRUE(builder.Column("m7"));
}

}  // namespace
}  // namespace steadyrun::replay
