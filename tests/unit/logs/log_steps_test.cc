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
    ::unlink((path_ + ".err").c_str());
    ::unlink((path_ + ".cursor").c_str());
  }
  LogStepReader Reader(const std::string& format = "megatron") {
    LogStepOptions options;
    options.run = "run-1";
    options.attempt = AttemptId{2};
    options.rank = Rank{7};
    options.format = format;
    options.stdout_path = path_;
    options.stderr_path = path_ + ".err";
    options.cursor_path = path_ + ".cursor";
    options.begins_at_end = begins_at_end_;
    return LogStepReader(std::move(options));
  }
  void Print(const std::string& text) {
    std::ofstream(path_, std::ios::app) << text;
  }
  void PrintError(const std::string& text) {
    std::ofstream(path_ + ".err", std::ios::app) << text;
  }
  void Line(int step, const std::string& fields) {
    Print(" iteration " + std::to_string(step) +
          "/ 100 | elapsed time per iteration (ms): 250.0 | " + fields +
          " |\nsome other line\n");
  }
  static std::vector<StepBlock> BlocksOf(std::vector<Event> events) {
    std::vector<StepBlock> blocks;
    for (Event& event : events) {
      blocks.push_back(std::get<StepsRead>(event).block);
    }
    return blocks;
  }
  std::vector<StepBlock> Poll(LogStepReader& reader, double seconds = 0.1) {
    now_ += FromSeconds(seconds);
    return BlocksOf(reader.Poll({now_, FromUnixMillis(5000)}));
  }
  std::vector<StepBlock> Drain(LogStepReader& reader) {
    now_ += std::chrono::milliseconds(100);
    return BlocksOf(reader.Drain({now_, FromUnixMillis(5000)}));
  }
  // "1:2.5 2:nan": step and loss of each block; "-" without a loss.
  static std::string Losses(const std::vector<StepBlock>& blocks) {
    std::string text;
    for (const StepBlock& block : blocks) {
      const auto loss = block.Column(Metric::kLoss);
      char buffer[64];
      std::snprintf(buffer, sizeof buffer,
                    "%lld:", static_cast<long long>(block.step.value));
      text += buffer;
      std::snprintf(buffer, sizeof buffer, "%.4g ", loss.empty() ? 0 : loss[0]);
      text += loss.empty() ? "- " : buffer;
    }
    return text;
  }
  static double Value(const StepBlock& block, const std::string& name) {
    for (std::size_t m = 0; m < block.metrics.size(); ++m) {
      if (block.metrics[m] >= kFirstNamedMetric &&
          block.names[block.metrics[m] - kFirstNamedMetric] == name) {
        return block.values[m];
      }
    }
    return NAN;
  }
  std::string path_;
  bool begins_at_end_ = false;
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
    reader.WriteCursor(reader.Cursor());
    Line(2, "lm loss: 1.0");
    ASSERT_THAT(Poll(reader), SizeIs(1));  // Not durable: read again.
  }
  LogStepReader successor = Reader();

  const auto blocks = Poll(successor);

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_EQ(blocks[0].step, Step{2});
}

TEST_F(LogStepsTest, NamedMetricsOfAnRlTrainerAreSent) {
  LogStepReader reader = Reader("verl");
  Print(
      "(TaskRunner pid=7) step:1 - actor/pg_loss:np.float64(-0.5) - "
      "actor/entropy:0.25 - actor/ppo_kl:0.125 - critic/score/mean:0.5 - "
      "response_length/mean:1054.5 - timing_s/step:12.5\n");
  const auto blocks = Poll(reader);
  ASSERT_EQ(Losses(blocks), "1:-0.5 ");
  EXPECT_EQ(blocks[0].Column(Metric::kStepSeconds)[0], 12.5f);
  EXPECT_EQ(Value(blocks[0], "actor/entropy"), 0.25);
  EXPECT_EQ(Value(blocks[0], "actor/ppo_kl"), 0.125);
  EXPECT_EQ(Value(blocks[0], "critic/score/mean"), 0.5);
  EXPECT_EQ(Value(blocks[0], "response_length/mean"), 1054.5);
}

TEST_F(LogStepsTest, MindSpeedRlAndOpenRlhf) {
  LogStepReader mindspeed = Reader("mindspeed");
  PrintError(
      "INFO:grpo:[2025-03-01 12:00:00] iteration: 3 / 100 | "
      "actor/pg_loss : 0.2500 | grpo/rewards/mean : 0.5000 | "
      "timing/all : 12.5000 \n");
  auto blocks = Poll(mindspeed);
  ASSERT_EQ(Losses(blocks), "3:0.25 ");
  EXPECT_EQ(Value(blocks[0], "grpo/rewards/mean"), 0.5);
  EXPECT_EQ(blocks[0].Column(Metric::kStepSeconds)[0], 12.5f);
  Clean();
  LogStepReader openrlhf = Reader("openrlhf");
  Print(
      "(PPOTrainer pid=1) INFO x.py:547] \xE2\x9C\xA8 Global step 4: "
      "{'response_length': 40.375, 'policy_loss': 0.25, 'reward': 0.5, "
      "'actor_lr': 3.25e-06}\n");
  blocks = Poll(openrlhf);
  ASSERT_EQ(Losses(blocks), "4:0.25 ");
  EXPECT_EQ(Value(blocks[0], "response_length"), 40.375);
}

TEST_F(LogStepsTest, HuggingFaceIsCountedByTheBarOnTheOtherStream) {
  LogStepReader reader = Reader("hf");
  PrintError(
      "Loading shards: 100%|##| 5000/5000 [00:01<00:00,  1.5it/s]\n"
      "\r  0%| | 0/900 [00:00<?, ?it/s]"
      "\r  1%| | 10/900 [00:21<1:09:10,  3.52s/it]");
  Print("{'loss': 2.5, 'grad_norm': 1.5, 'reward': 0.25, 'epoch': 0.1}\n");
  EXPECT_EQ(Losses(Poll(reader)), "");  // Waits for its bar.
  PrintError(
      "\r  1%| | 10/900 [00:21<1:09:10,  3.52s/it]"
      "\r  1%| | 12/900 [00:28<1:09:10,  3.52s/it]\r");
  const auto blocks = Poll(reader);
  ASSERT_EQ(Losses(blocks), "12:2.5 ");  // Seen late by a quick bar.
  EXPECT_EQ(Value(blocks[0], "reward"), 0.25);
  EXPECT_EQ(reader.last_step(), Step{12});
  // The bar tells of progress between two lines.
  PrintError("\r  1%| | 15/900 [00:33<1:09:10,  3.52s/it]\r");
  EXPECT_EQ(Losses(Poll(reader)), "");
  EXPECT_EQ(reader.last_step(), Step{15});
}

TEST_F(LogStepsTest, ABacklogOfCountedLinesSharesTheBarsSteps) {
  LogStepReader reader = Reader("hf");
  for (int i = 1; i <= 4; ++i) {
    Print("{'loss': " + std::to_string(i) + ".5, 'epoch': 0.1}\n");
  }
  PrintError("\r  4%| | 40/900 [00:21<1:09:10,  3.52s/it]\r");
  EXPECT_EQ(Losses(Poll(reader)), "");
  EXPECT_EQ(Losses(Poll(reader)), "10:1.5 20:2.5 30:3.5 40:4.5 ");
}

TEST_F(LogStepsTest, WithoutABarLinesAreCounted) {
  LogStepReader reader = Reader("trl");
  // Newer Trainers put their numbers in quotes.
  Print(
      "{'loss': '2.5', 'grad_norm': '1.5', 'kl': '0.125', 'epoch': '0.1'}\n"
      "{'loss': 0.5, 'epoch': 0.2}\n");
  Poll(reader);
  const auto blocks = Poll(reader);
  ASSERT_EQ(Losses(blocks), "1:2.5 2:0.5 ");
  EXPECT_EQ(Value(blocks[0], "kl"), 0.125);
}

TEST_F(LogStepsTest, ASuccessorCountsOn) {
  {
    LogStepReader reader = Reader("auto");
    for (int i = 1; i <= 3; ++i) Print("{'loss': 1.5, 'epoch': 0.1}\n");
    Poll(reader);
    EXPECT_EQ(Losses(Poll(reader)), "1:1.5 2:1.5 3:1.5 ");
    reader.WriteCursor(reader.Cursor());
    EXPECT_THAT(reader.TakeNotes(),
                ::testing::ElementsAre(::testing::HasSubstr("read as hf")));
  }
  LogStepReader successor = Reader("auto");
  Print("{'loss': 0.5, 'epoch': 0.1}\n");
  Poll(successor);
  EXPECT_EQ(Losses(Poll(successor)), "4:0.5 ");
  EXPECT_THAT(successor.TakeNotes(), SizeIs(0));  // Knows the format.
}

TEST_F(LogStepsTest, AHeldLineIsNotPassedByTheCursor) {
  {
    LogStepReader reader = Reader("hf");
    Print("{'loss': 1.5, 'epoch': 0.1}\n");
    EXPECT_EQ(Losses(Poll(reader)), "");
    reader.WriteCursor(reader.Cursor());
  }
  LogStepReader successor = Reader("hf");
  Poll(successor);
  EXPECT_EQ(Losses(Poll(successor)), "1:1.5 ");
}

TEST_F(LogStepsTest, AutoSendsTheLinesThatDecidedToo) {
  LogStepReader reader = Reader("auto");
  Print("loading\nConfig: {'loss': 'l2'}\n");
  EXPECT_EQ(Losses(Poll(reader)), "");
  EXPECT_EQ(reader.last_step(), kNoStep);
  Print("{\"step\": 1, \"loss\": 2.5}\n");
  EXPECT_EQ(Losses(Poll(reader)), "");
  Print("{\"step\": 2, \"loss\": 2.25}\n");
  EXPECT_EQ(Losses(Poll(reader)), "1:2.5 2:2.25 ");
}

TEST_F(LogStepsTest, AutoGivesUpOnAnOutputWithoutSteps) {
  LogStepReader reader = Reader("auto");
  std::string lines;
  for (std::int64_t i = 0; i <= LogStepReader::kGuessLines; ++i) lines += "x\n";
  Print(lines);
  Poll(reader);
  EXPECT_THAT(
      reader.TakeNotes(),
      ::testing::ElementsAre(::testing::HasSubstr("not followed any more")));
  Line(1, "lm loss: 1.0");
  EXPECT_EQ(Losses(Poll(reader)), "");
  reader.WriteCursor(reader.Cursor());
  LogStepReader successor = Reader("auto");
  EXPECT_EQ(Losses(Poll(successor)), "");
}

TEST_F(LogStepsTest, OlmoIsSentWithItsMetrics) {
  LogStepReader reader = Reader("olmo");
  Print("INFO    [step=1/739,328,epoch=0]\n    train/CrossEntropyLoss=12.25\n");
  EXPECT_EQ(Losses(Poll(reader)), "");  // More may come.
  Print("    optim/total_grad_norm=1.5\n");
  EXPECT_EQ(Losses(Poll(reader)), "");
  const auto blocks = Poll(reader, 0.5);
  ASSERT_EQ(Losses(blocks), "1:12.25 ");
  EXPECT_EQ(blocks[0].Column(Metric::kGradNorm)[0], 1.5f);
}

TEST_F(LogStepsTest, AnEvaluationGoesWithTheNextStep) {
  LogStepReader reader = Reader("hf");
  Print("{'loss': 2.5, 'epoch': 0.1}\n");
  Poll(reader);
  EXPECT_EQ(Losses(Poll(reader)), "1:2.5 ");
  Print("{'eval_loss': 2.75, 'eval_reward': 0.5, 'epoch': 0.1}\n");
  EXPECT_EQ(Losses(Poll(reader)), "");
  Print("{'loss': 2.25, 'epoch': 0.2}\n");
  Poll(reader);
  const auto blocks = Poll(reader);
  ASSERT_EQ(Losses(blocks), "2:2.25 ");
  EXPECT_EQ(Value(blocks[0], "eval_reward"), 0.5);
}

TEST_F(LogStepsTest, StepTimeIsTakenWhereNoneIsPrinted) {
  LogStepReader reader = Reader("jsonl");
  const auto step = [&](int number) {
    Print("{\"step\": " + std::to_string(number) + ", \"loss\": 2.5}\n");
  };
  step(10);
  EXPECT_THAT(Poll(reader)[0].Column(Metric::kStepSeconds), SizeIs(0));
  step(20);
  auto blocks = Poll(reader, 5);
  EXPECT_NEAR(blocks[0].Column(Metric::kStepSeconds)[0], 0.5, 1e-6);
  step(30);
  step(40);  // A buffer was written out: nothing is known of their times.
  for (const StepBlock& block : Poll(reader, 10)) {
    EXPECT_THAT(block.Column(Metric::kStepSeconds), SizeIs(0));
  }
}

TEST_F(LogStepsTest, InterleavedRanksAreTakenOnce) {
  LogStepReader reader = Reader("auto");
  for (int step = 1; step <= 3; ++step) {
    for (const char* source : {"[default0]:", "[default1]:"}) {
      Print(std::string(source) + "iteration " + std::to_string(step) +
            "/ 100 | lm loss: 2.5 |\n");
    }
  }
  EXPECT_EQ(Losses(Poll(reader)), "1:2.5 2:2.5 3:2.5 ");
}

TEST_F(LogStepsTest, ALineThatIsTornOrTooLongIsNoStep) {
  LogStepReader reader = Reader("verl");
  Print("step:1 - actor/pg_loss:2.5\nstep:2 - actor/pg_loss:" +
        std::string(100'000, '1') + "\nstep:3 - actor/pg_loss:0.12");
  EXPECT_EQ(Losses(Drain(reader)), "1:2.5 ");
}

// A file that the training code appends to in each attempt.
TEST_F(LogStepsTest, AnEarlierAttemptsLinesAreNotReadAgain) {
  begins_at_end_ = true;
  Print("step:1 - actor/pg_loss:2.5\n");
  {
    LogStepReader reader = Reader("auto");
    EXPECT_EQ(Losses(Poll(reader)), "");
    Print("step:2 - actor/pg_loss:2.5\n");
    EXPECT_EQ(Losses(Poll(reader)), "2:2.5 ");
  }
  LogStepReader successor = Reader("auto");  // Nothing was committed.
  EXPECT_EQ(Losses(Poll(successor)), "2:2.5 ");
}

// Hours of bars and text: what is kept does not grow, and is not read again.
TEST_F(LogStepsTest, ALongLogIsReadOnceInBoundedMemory) {
  LogStepReader reader = Reader("auto");
  std::size_t blocks = 0;
  for (int hour = 0; hour < 12; ++hour) {
    std::string bars;
    for (int i = 0; i < 20'000; ++i) {
      bars += "\r  1%| | " + std::to_string(hour) + "/900 [00:21<1:09,  3s/it]";
    }
    PrintError(bars);
    Print("text\n{\"step\": " + std::to_string(hour) + ", \"loss\": 2.5}\n");
    for (int i = 0; i < 5; ++i) blocks += Poll(reader, 60).size();
    reader.WriteCursor(reader.Cursor());
  }
  EXPECT_EQ(blocks, 12u);
  LogStepReader successor = Reader("auto");
  EXPECT_THAT(Poll(successor), SizeIs(0));
}

}  // namespace
}  // namespace steadyrun::agent
