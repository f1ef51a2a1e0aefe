#include "replay/readers/csv_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "replay/labels.h"

namespace steadyrun::replay {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Trace Read(std::string_view text) {
  auto trace = ReadCsvTrace(text, "f.csv");
  EXPECT_TRUE(trace.ok()) << trace.status();
  return trace.ok() ? *std::move(trace) : Trace();
}
std::string ErrorOf(std::string_view text) {
  return std::string(ReadCsvTrace(text, "f.csv").status().message());
}
std::vector<std::int64_t> Steps(const TraceAttempt& attempt) {
  std::vector<std::int64_t> steps;
  for (const StepRow& row : attempt.rows) steps.push_back(row.step.value);
  return steps;
}
std::vector<float> ColumnOf(const StepRow& row, Metric metric) {
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (row.metrics[m] != static_cast<std::uint32_t>(metric)) continue;
    const auto world = static_cast<std::size_t>(row.world_size);
    const auto begin =
        row.values.begin() + static_cast<std::ptrdiff_t>(m * world);
    return {begin, begin + row.world_size};
  }
  return {};
}

TEST(CsvTraceTest, ReadsColumnsByNameAndEmptyCellsAsAbsent) {
  const Trace trace = Read(
      "step,loss,grad_norm,step_time,kl,comment\r\n"
      "10,2.5,,0.5,0.01,\"a, \"\"b\"\"\nc\"\r\n"
      "20,nan,-inf,,,x\r\n");
  ASSERT_EQ(trace.attempts.size(), 1u);
  const auto& rows = trace.attempts[0].rows;
  EXPECT_THAT(Steps(trace.attempts[0]), ElementsAre(10, 20));
  EXPECT_EQ(rows[0].loss, 2.5);
  EXPECT_TRUE(std::isnan(rows[0].grad_norm));
  EXPECT_TRUE(ColumnOf(rows[0], Metric::kGradNorm).empty());
  EXPECT_EQ(rows[0].step_seconds, 0.5);
  EXPECT_THAT(rows[0].names, ElementsAre("kl"));
  EXPECT_TRUE(std::isnan(ColumnOf(rows[1], Metric::kLoss)[0]));
  EXPECT_FALSE(IsAbsent(ColumnOf(rows[1], Metric::kLoss)[0]));
  EXPECT_EQ(ColumnOf(rows[1], Metric::kGradNorm)[0], -INFINITY);
  EXPECT_EQ(trace.StepStride(), 10);
  EXPECT_THAT(trace.notes, ElementsAre(HasSubstr("'comment' holds text")));
}

TEST(CsvTraceTest, AStepThatGoesBackIsANewAttempt) {
  const Trace trace = Read("step,loss\n1,1\n2,1\n3,1\n2,1\n3,1\n1,1\n");
  ASSERT_EQ(trace.attempts.size(), 3u);
  EXPECT_THAT(Steps(trace.attempts[1]), ElementsAre(2, 3));
  EXPECT_EQ(trace.attempts[2].attempt.attempt, AttemptId{3});
}

TEST(CsvTraceTest, AnAttemptColumnSaysOtherwise) {
  const Trace trace = Read("attempt,step,loss\n4,1,1\n4,3,1\n4,2,1\n7,3,1\n");
  ASSERT_EQ(trace.attempts.size(), 2u);
  EXPECT_THAT(Steps(trace.attempts[0]), ElementsAre(1, 2, 3));
  EXPECT_EQ(trace.attempts[1].attempt.attempt, AttemptId{7});
}

TEST(CsvTraceTest, RanksAreJoinedInAnyOrder) {
  const Trace trace = Read(
      "step,rank,node,role,loss,compute_seconds\n"
      "1,0,a,first,2,0.5\n2,0,a,first,2,0.5\n3,0,a,first,2,0.5\n"
      "1,1,b,last,4,0.7\n2,1,b,last,4,0.9\n"
      "2,1,b,last,5,0.8\n");
  ASSERT_EQ(trace.attempts.size(), 1u);
  const TraceAttempt& attempt = trace.attempts[0];
  EXPECT_THAT(attempt.attempt.rank_nodes, ElementsAre("a", "b"));
  EXPECT_THAT(attempt.roles, ElementsAre("first", "last"));
  ASSERT_EQ(attempt.rows.size(), 3u);
  EXPECT_THAT(ColumnOf(attempt.rows[0], Metric::kComputeSeconds),
              ElementsAre(0.5F, 0.7F));
  EXPECT_EQ(attempt.rows[0].loss, 3);
  // The same step again corrects the first.
  EXPECT_THAT(ColumnOf(attempt.rows[1], Metric::kLoss), ElementsAre(2, 5));
  EXPECT_TRUE(attempt.rows[1].is_complete);
  EXPECT_FALSE(attempt.rows[2].is_complete);
  EXPECT_TRUE(IsAbsent(ColumnOf(attempt.rows[2], Metric::kLoss)[1]));
}

TEST(CsvTraceTest, ValuesToldTwiceAreNoted) {
  const Trace trace = Read("step,loss,kl\n1,2,nan\n1,2,nan\n2,3,1\n2,4,1\n");
  EXPECT_EQ(trace.attempts[0].rows[1].loss, 4);
  EXPECT_THAT(trace.notes,
              ElementsAre(HasSubstr("1 values were told twice for one step (is "
                                    "a column 'rank' missing?)")));
}

TEST(CsvTraceTest, TheFirstOfTwoSpellingsIsTheMetric) {
  const Trace trace = Read("step,loss,train_loss\n1,2,3\n");
  EXPECT_EQ(trace.attempts[0].rows[0].loss, 2);
  EXPECT_THAT(trace.attempts[0].rows[0].names, ElementsAre("train_loss"));
}

TEST(CsvTraceTest, ALastLineThatIsCutOffIsLeftOut) {
  const Trace trace = Read("step,loss,lr\n1,2,3\n2,2");
  EXPECT_EQ(trace.Rows(), 1);
  EXPECT_THAT(trace.notes, ElementsAre(HasSubstr("cut off")));
}

TEST(CsvTraceTest, ErrorsSayWhere) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf("stpe,loss\n1,2\n"),
              HasSubstr("f.csv:1:1: no column 'step' (is 'stpe' meant?)"));
  EXPECT_THAT(ErrorOf("step,loss\n1,2\nx,2\n"),
              HasSubstr("f.csv:3:1: 'step': expected a whole number, found "
                        "'x'"));
  EXPECT_THAT(ErrorOf("step,loss\n1,2\n3,two\n"),
              HasSubstr("f.csv:3:3: 'loss': expected a number"));
  EXPECT_THAT(ErrorOf("step,loss\n1,2,3\n2,2\n"),
              HasSubstr("f.csv:2:1: 3 cells, but the header has 2 columns"));
  EXPECT_THAT(ErrorOf("step,loss\n1,\"2\n"), HasSubstr("never closed"));
  EXPECT_THAT(ErrorOf("step,loss\n-1,2\n"), HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf("step,rank,loss\n1,99999999,2\n"),
              HasSubstr("rank 1048576 is out of range"));
  // One rank of many with nothing between would be a row of a million cells.
  std::string wide = "step,rank,loss\n";
  for (int i = 0; i < 300; ++i) wide += std::to_string(i) + ",1000000,1\n";
  EXPECT_THAT(ErrorOf(wide), HasSubstr("without gaps"));
}

TEST(CsvTraceTest, WrittenTracesReadBack) {
  const std::string text =
      "step,attempt,rank,node,role,step_time,loss,\"a,b\"\n"
      "1,1,0,n0,r,0.5,nan,\n"
      "1,1,1,n1,r,0.25,inf,3\n"
      "1,2,0,n0,r,0.1,-inf,\n";
  EXPECT_EQ(WriteCsvTrace(Read(text)), text);
}

TEST(LabelsTest, ReadsPlacesAndErrorsSayWhere) {
  const auto labels = ReadLabels(
      "start_step,end_step,kind,rank,node,attempt,onset_seconds,evidence\n"
      "5,9,straggler,3;4,n1,2,12.5,\"x, y\"\n7,,nan,,,,,\n",
      "l.csv");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_THAT((*labels)[0].ranks, ElementsAre(Rank{3}, Rank{4}));
  EXPECT_EQ((*labels)[0].node, "n1");
  EXPECT_EQ((*labels)[0].attempt, AttemptId{2});
  EXPECT_EQ((*labels)[0].onset_seconds, 12.5);
  EXPECT_EQ((*labels)[1].end, Step{7});
  for (const auto& [text, message] :
       {std::pair{"start_step,end_step,kinds\n",
                  "no column 'kind' (is 'kinds' "
                  "meant?)"},
        {"start_step,end_step,kind\n1,2,los_spike\n",
         "l.csv:2:5: 'los_spike' is no kind of label (did you mean "
         "'loss_spike'?)"},
        {"start_step,end_step,kind\n5,2,nan\n", "l.csv:2:3: 'end_step' 2"},
        {"start_step,end_step,kind,rank\n5,6,nan,x\n", "l.csv:2:9: 'rank'"}}) {
    EXPECT_THAT(std::string(ReadLabels(text, "l.csv").status().message()),
                HasSubstr(message));
  }
}

}  // namespace
}  // namespace steadyrun::replay
