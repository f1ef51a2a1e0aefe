#include "agent/logs/line_values.h"

#include <gmock/gmock.h>

#include "proto/messages/convert.h"

namespace steadyrun::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::SizeIs;

StepBlock BlockOf(const NamedValues& values) {
  StepBlock block;
  block.run = "run";
  block.attempt = AttemptId{1};
  block.step = Step{1};
  block.ranks = {0};
  FillBlock(values, &block);
  return block;
}

TEST(LineValuesTest, StandardMetricsAreNumberedAndTheOthersNamed) {
  const StepBlock block = BlockOf(
      {{"kl", 0.5}, {"loss", 2.5}, {"reward", 1.0}, {"step_time", 3.0}});
  EXPECT_EQ(block.Column(Metric::kLoss)[0], 2.5f);
  EXPECT_EQ(block.Column(Metric::kStepSeconds)[0], 3.0f);
  EXPECT_THAT(block.names, ElementsAre("kl", "reward"));
  EXPECT_THAT(block.values, SizeIs(4));
}

TEST(LineValuesTest, NamesAreAsTheProtocolTakesThem) {
  const StepBlock block = BlockOf({{"val-core/gsm8k/acc/mean@1", 1},
                                   {"optim/LR (group 0)", 1},
                                   {"\xE2\x9C\xA8", 1},
                                   {std::string(65, 'x'), 1}});
  EXPECT_THAT(block.names,
              ElementsAre("val-core/gsm8k/acc/mean@1", "optim/LR_group_0"));
}

TEST(LineValuesTest, OfTooManyTimingsAndExtremesAreLeftOutFirst) {
  NamedValues values;
  for (int i = 0; i < 60; ++i) {
    values.emplace_back("timing_s/" + std::to_string(i), 1);
    values.emplace_back("critic/" + std::to_string(i) + "/max", 1);
  }
  values.emplace_back("critic/score/mean", 0.5);
  const StepBlock block = BlockOf(values);
  EXPECT_THAT(block.names, SizeIs(kMaxNamedMetrics));
  EXPECT_EQ(block.names[0], "critic/score/mean");
  EXPECT_THAT(block.names, Not(Contains("timing_s/59")));
}

// What the agent makes of a line the server must take: a refused report would
// end the stream.
TEST(LineValuesTest, TheServerTakesWhatIsSent) {
  NamedValues values;
  for (int i = 0; i < 300; ++i) {
    values.emplace_back("a b(" + std::to_string(i % 150) + ")", i);
    values.emplace_back(std::string(1 + i % 80, static_cast<char>(i)), i);
  }
  for (const char* name : {"loss", "grad_norm", "step_time", "tokens"}) {
    values.emplace_back(name, 1e300);
  }
  Report report;
  report.seq = ReportSeq{1};
  report.body = BlockOf(values);
  v1::Report proto;
  ToProto(report, &proto);
  const auto back = FromProto(proto);
  EXPECT_TRUE(back.ok()) << back.status();
}

}  // namespace
}  // namespace steadyrun::agent
