#include "agent/logs/log_steps.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

namespace steadyrun::agent {
namespace {

using ::testing::SizeIs;

class LogStepsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ =
        ::testing::TempDir() + "log_steps_test." + std::to_string(::getpid());
    Clean();
  }
  void TearDown() override { Clean(); }
  void Clean() {
    ::unlink(path_.c_str());
    ::unlink((path_ + ".cursor").c_str());
  }
  LogStepReader Reader() {
    return LogStepReader("run-1", AttemptId{2}, Rank{7}, path_);
  }
  void Line(int step, const std::string& fields) {
    std::ofstream(path_, std::ios::app)
        << " iteration " << step << "/ 100 | elapsed time per iteration (ms): "
        << "250.0 | " << fields << " |\nsome other line\n";
  }
  std::vector<StepBlock> Poll(LogStepReader& reader) {
    now_ += std::chrono::milliseconds(100);
    std::vector<StepBlock> blocks;
    for (Event& event : reader.Poll({now_, FromUnixMillis(5000)})) {
      blocks.push_back(std::get<StepsRead>(event).block);
    }
    return blocks;
  }
  std::string path_;
  MonoTime now_{std::chrono::seconds(1)};
};

TEST_F(LogStepsTest, MakesStepBlocksOfTheRank) {
  LogStepReader reader = Reader();
  EXPECT_EQ(reader.last_step(), kNoStep);
  Line(10, "lm loss: 2.5E+00 | grad norm: 0.5 | learning rate: 1.0E-04");

  const auto blocks = Poll(reader);

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_EQ(blocks[0].run, "run-1");
  EXPECT_EQ(blocks[0].attempt, AttemptId{2});
  EXPECT_EQ(blocks[0].step, Step{10});
  EXPECT_THAT(blocks[0].ranks, ::testing::ElementsAre(7));
  EXPECT_EQ(blocks[0].Column(Metric::kLoss)[0], 2.5f);
  EXPECT_EQ(blocks[0].Column(Metric::kGradNorm)[0], 0.5f);
  EXPECT_EQ(blocks[0].Column(Metric::kStepSeconds)[0], 0.25f);
  EXPECT_EQ(blocks[0].end_unix_ms, 5000);
  EXPECT_EQ(reader.last_step(), Step{10});
}

TEST_F(LogStepsTest, AnIterationCountedAsNanHasALossOfNan) {
  LogStepReader reader = Reader();
  Line(10, "number of nan iterations: 1");

  const auto blocks = Poll(reader);

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_TRUE(std::isnan(blocks[0].Column(Metric::kLoss)[0]));
}

TEST_F(LogStepsTest, TheGradientOfASkippedIterationSaysNothing) {
  LogStepReader reader = Reader();
  Line(10, "grad norm: inf | number of skipped iterations: 1");

  const auto blocks = Poll(reader);

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_TRUE(blocks[0].Column(Metric::kGradNorm).empty());
  EXPECT_TRUE(blocks[0].Column(Metric::kLoss).empty());
}

TEST_F(LogStepsTest, ASuccessorReadsOnWhereThePositionWasCommitted) {
  {
    LogStepReader reader = Reader();
    Line(1, "lm loss: 1.0");
    ASSERT_THAT(Poll(reader), SizeIs(1));
    reader.CommitCursor();
    Line(2, "lm loss: 1.0");
    ASSERT_THAT(Poll(reader), SizeIs(1));  // Not durable: read again.
  }
  LogStepReader successor = Reader();

  const auto blocks = Poll(successor);

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_EQ(blocks[0].step, Step{2});
}

TEST_F(LogStepsTest, KnowsItsFormats) {
  EXPECT_TRUE(IsKnownLogFormat(""));
  EXPECT_TRUE(IsKnownLogFormat("megatron"));
  EXPECT_FALSE(IsKnownLogFormat("Megatron"));
}

}  // namespace
}  // namespace steadyrun::agent
