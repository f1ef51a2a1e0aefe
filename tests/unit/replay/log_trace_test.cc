#include "replay/readers/log_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "replay/readers/read_trace.h"
#include "replay/readers/trainer_state.h"

namespace steadyrun::replay {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Trace Read(std::string_view text) {
  auto trace = ReadTrace(text, "f.log");
  EXPECT_TRUE(trace.ok()) << trace.status();
  return trace.ok() ? *std::move(trace) : Trace();
}

// "1:2.5 2:nan": step and loss of every row.
std::string Losses(const Trace& trace) {
  std::string text;
  for (const TraceAttempt& attempt : trace.attempts) {
    if (!text.empty()) text += "| ";
    for (const StepRow& row : attempt.rows) {
      char buffer[64];
      std::snprintf(buffer, sizeof buffer, "%lld:%.4g ",
                    static_cast<long long>(row.step.value), row.loss);
      text += buffer;
    }
  }
  return text;
}
double Value(const StepRow& row, std::string_view name) {
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    const bool is_named = row.metrics[m] >= kFirstNamedMetric;
    if (is_named && row.names[row.metrics[m] - kFirstNamedMetric] == name) {
      return row.values[m];
    }
    if (!is_named &&
        StandardName(static_cast<Metric>(row.metrics[m])) == name) {
      return row.values[m];
    }
  }
  return NAN;
}

TEST(LogTraceTest, MegatronWithPrefixesBytesAndUnits) {
  const Trace trace = Read(
      "loading\xff\xfe data\n"
      " [default3]: iteration 1/ 9 | elapsed time per iteration (ms): 250.0 | "
      "lm loss: 2.5E+00 | grad norm: 1.5 | number of skipped iterations: 0 |\n"
      "  5%|#  \r[default3]: iteration 2/ 9 | elapsed time per iteration (s): "
      "0.5 | learning rate: 1.0E-4 | number of nan iterations: 1 |\n"
      "[default3]: iteration 3/ 9 | consumed sam");
  EXPECT_EQ(trace.format, "megatron");
  EXPECT_EQ(Losses(trace), "1:2.5 2:nan ");
  EXPECT_EQ(trace.attempts[0].rows[0].step_seconds, 0.25);
  EXPECT_EQ(trace.attempts[0].rows[1].step_seconds, 0.5);
}

TEST(LogTraceTest, StepsThatSeveralRanksPrintAreTakenOnce) {
  const auto line = [](int rank, int step) {
    return std::to_string(rank) + ": iteration " + std::to_string(step) +
           "/ 99 | learning rate: 1 | lm loss: " +
           std::to_string(rank * 100 + step) + ".0 |\n";
  };
  std::string text;
  for (int step = 1; step <= 5; ++step) text += line(7, step) + line(3, step);
  const Trace trace = Read(text);
  EXPECT_EQ(Losses(trace), "1:701 2:702 3:703 4:704 5:705 ");
  EXPECT_THAT(trace.notes, ElementsAre(HasSubstr("5 step lines of other")));
}

TEST(LogTraceTest, ARestartIsAnAttempt) {
  const Trace trace = Read(
      "step:1/9 train_loss:3.5 train_time:10ms\n"
      "step:2/9 train_loss:3.25 train_time:20ms\n"
      "step:1/9 train_loss:3.5 train_time:10ms\n");
  EXPECT_EQ(trace.format, "nanogpt");
  EXPECT_EQ(Losses(trace), "1:3.5 2:3.25 | 1:3.5 ");
  EXPECT_NEAR(Value(trace.attempts[0].rows[1], "train_time"), 0.02, 1e-9);
}

TEST(LogTraceTest, MindFormersOldAndNew) {
  const Trace old = Read(
      "[INFO] 2023 [callback.py:269] print_output_info: Epoch:[  1/  2], "
      "step:[    4/  125], loss:[2.244/2.3], time:1953.7 ms, lr:[0.], overflow "
      "cond: True, loss_scale: 268435460.0\n"
      "- INFO - { Epoch:[  2/  2], step:[    1/  125], loss: 10.5, "
      "per_step_time: 1752ms, lr: 1e-05, overflow cond: False, loss_scale: "
      "1.0, global_norm: [1 31049], train_throughput_per_npu: 2.896T\n"
      "{ Epoch:[  2/  2], step:[    2/  125], loss: 9.5, per_step_time: 1ms, "
      "lr: 1e-05, global_norm [10.5], train_throughput_per_npu: 170.523T\n");
  EXPECT_EQ(old.format, "mindformers");
  EXPECT_EQ(Losses(old), "4:2.244 126:10.5 127:9.5 ");
  const auto& rows = old.attempts[0].rows;
  EXPECT_NEAR(rows[0].step_seconds, 1.9537, 1e-6);
  EXPECT_EQ(Value(rows[0], "overflow"), 1);
  EXPECT_TRUE(std::isnan(rows[1].grad_norm));
  EXPECT_EQ(rows[2].grad_norm, 10.5);
  const Trace newer = Read(
      "{ step:[    1/   10], loss:  11.5, per_step_time:  13570ms, lr: "
      "1.0e-05, grad_norm:  13.5, throughput:   1.36T }\n");
  EXPECT_EQ(Losses(newer), "1:11.5 ");
  EXPECT_EQ(newer.attempts[0].rows[0].grad_norm, 13.5);
  EXPECT_NEAR(newer.attempts[0].rows[0].step_seconds, 13.57, 1e-5);
}

TEST(LogTraceTest, VerlWithNumpySpellingsAndTwoLinesAStep) {
  const Trace trace = Read(
      "(TaskRunner pid=7) step:1 - actor/pg_loss:np.float64(-0.5) - "
      "actor/grad_norm:0.25 - timing_s/step:12.5 - actor/entropy:nan - "
      "note:text\n"
      "step:1 - val/reward:0.125\n");
  EXPECT_EQ(trace.format, "verl");
  ASSERT_EQ(trace.Rows(), 1);
  const StepRow& row = trace.attempts[0].rows[0];
  EXPECT_EQ(row.loss, -0.5);
  EXPECT_EQ(row.grad_norm, 0.25);
  EXPECT_EQ(row.step_seconds, 12.5);
  EXPECT_TRUE(std::isnan(Value(row, "actor/entropy")));
  EXPECT_EQ(Value(row, "val/reward"), 0.125);
}

TEST(LogTraceTest, HuggingFaceStepsComeFromTheProgressBar) {
  const Trace trace = Read(
      "Loading shards: 100%|##| 2/2 [00:01<00:00,  1.5it/s]\n"
      "  0%| | 10/9000 [00:21<1:09:10,  3.52s/it]{'loss': 2.5, 'grad_norm': "
      "nan, 'learning_rate': 1e-05, 'epoch': 0.01}\n"
      "  0%| | 20/9000 [00:42<1:09:10,  3.52s/it]\n"
      "{'eval_loss': 2.75, 'epoch': 0.01}\n"
      "{'loss': 0.0, 'grad_norm': 1.5, 'kl': 0.25, 'epoch': 0.02}\n"
      "{'train_runtime': 13.3, 'train_loss': 2.0, 'epoch': 5.0}\n");
  EXPECT_EQ(trace.format, "hf");
  EXPECT_EQ(Losses(trace), "10:2.5 20:0 ");
  EXPECT_EQ(Value(trace.attempts[0].rows[0], "eval_loss"), 2.75);
  EXPECT_EQ(Value(trace.attempts[0].rows[1], "kl"), 0.25);
  EXPECT_THAT(trace.notes, ElementsAre(HasSubstr("progress bar, or counted")));
}

TEST(LogTraceTest, DeepSpeedOverflowsBelongToTheNextStep) {
  const Trace trace = Read(
      "[2023] [INFO] [loss_scaler.py:181] [deepspeed] OVERFLOW! Rank 0 "
      "Skipping "
      "step. Attempted loss scale: 65536, reducing to 32768\n"
      "[2023] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=6, "
      "lr=[5e-05, 1e-4], mom=[(0.9, 0.999)]\n");
  EXPECT_EQ(trace.format, "deepspeed");
  const StepRow& row = trace.attempts[0].rows[0];
  EXPECT_EQ(row.step, Step{10});
  EXPECT_EQ(Value(row, "loss_scale"), 32768);
  EXPECT_EQ(Value(row, "skipped_steps"), 6);
  EXPECT_NEAR(Value(row, "learning_rate"), 5e-5, 1e-10);
}

TEST(LogTraceTest, OlmoMetricsBelongToTheHeaderAbove) {
  const Trace trace = Read(
      "    train/CrossEntropyLoss=99.0\n"
      "2024-08-06 09:59:26.181 host:0  olmo.train:908  INFO    "
      "[step=1/739,328,epoch=0]\n"
      "    optim/total_grad_norm=231.5\n"
      "    train/CrossEntropyLoss=12.25\n"
      "    System/Peak GPU Memory (MB)=46,911\n"
      "2024-08-06 10:00:05.520 host:0  olmo.train:908  INFO    "
      "[step=2/739328,epoch=0]\n"
      "    train/CrossEntropyLoss=1.75e-06\n");
  EXPECT_EQ(trace.format, "olmo");
  EXPECT_EQ(Losses(trace), "1:12.25 2:1.75e-06 ");
  const StepRow& row = trace.attempts[0].rows[0];
  EXPECT_EQ(row.grad_norm, 231.5);
  EXPECT_EQ(Value(row, "System/Peak GPU Memory (MB)"), 46911);
}

TEST(LogTraceTest, MlPerfLlmCAndJsonLines) {
  EXPECT_EQ(
      Losses(Read("  0: :::MLLOG {\"key\": \"tracked_stats\", \"value\": "
                  "{\"train_step_time\": 3.9, \"reduced_train_loss\": 12.5}, "
                  "\"metadata\": {\"step\": 64.0}} trailing\n"
                  ":::MLLOG {\"key\": \"tracked_stats\", \"value\": {torn\n")),
      "64:12.5 ");
  EXPECT_EQ(Losses(Read("s:0 tel:11.0\ns:0 trl:10.5 lr:0.1 norm:15.37\n")),
            "0:10.5 ");
  EXPECT_EQ(Losses(Read("{\"step\": 3, \"data\": {\"actor/pg_loss\": 0.5}}\n"
                        "{\"step\": 4, \"loss\": 0.25}\n{\"step\": 5, \"lo")),
            "3:0.5 4:0.25 ");
}

TEST(LogTraceTest, ALastNumberThatMayBeCutOffIsNotTaken) {
  const Trace trace = Read(
      "step:1/9 train_loss:3.3717 train_time:10ms\n"
      "step:2/9 train_loss:3.");
  EXPECT_EQ(Losses(trace), "1:3.372 ");
}

TEST(LogTraceTest, TheFormatIsFoundBehindALongPreamble) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "WARNING: nothing to see\n";
  text += "s:1 trl:2.5 lr:0.1 norm:1.0\n";
  EXPECT_EQ(Read(text).format, "llmc");
}

TEST(LogTraceTest, WhatIsNoRecordingIsToldSo) {
  const auto trace = ReadTrace("hello\nworld\n", "f.txt");
  EXPECT_THAT(std::string(trace.status().message()),
              HasSubstr("f.txt: no known recording: none of 2 lines prints a "
                        "step. Known are CSV"));
}

TEST(LogTraceTest, EachLineIsAccountedFor) {
  std::vector<int> fates;
  std::vector<std::int64_t> steps;
  const auto trace =
      ReadLogTrace("{'eval_loss': 1.0}\nhello\n{'loss': 2.0}\n", "f",
                   LogFormat::kHuggingFace, [&](const LineAccount& account) {
                     fates.push_back(static_cast<int>(account.fate));
                     steps.push_back(account.step);
                   });
  ASSERT_TRUE(trace.ok());
  using Fate = agent::LineFate;
  EXPECT_THAT(fates, ElementsAre(static_cast<int>(Fate::kNoStep),
                                 static_cast<int>(Fate::kUnmatched),
                                 static_cast<int>(Fate::kMatched)));
  EXPECT_THAT(steps, ElementsAre(-1, -1, 1));
}

TEST(TrainerStateTest, ReadsTheHistoryWithBareNan) {
  const Trace trace = Read(
      R"({"epoch": 1, "log_history": [
        {"step": 10, "loss": 2.5, "grad_norm": NaN, "learning_rate": 1e-4},
        {"step": 10, "eval_loss": 2.75, "note": "a NaN \" word"},
        {"step": 20, "loss": -Infinity},
        {"step": 20, "train_runtime": 5.0, "train_loss": 2.0}]})");
  EXPECT_EQ(trace.format, "trainer_state");
  ASSERT_EQ(trace.Rows(), 2);
  const auto& rows = trace.attempts[0].rows;
  EXPECT_EQ(rows[0].loss, 2.5);
  EXPECT_TRUE(std::isnan(rows[0].grad_norm));
  EXPECT_EQ(Value(rows[0], "eval_loss"), 2.75);
  EXPECT_EQ(rows[1].loss, -INFINITY);
  EXPECT_TRUE(std::isnan(Value(rows[1], "train_runtime")));
}

TEST(TrainerStateTest, ErrorsSayWhere) {
  EXPECT_THAT(std::string(ReadTrainerState(
                              "{\n \"log_history\": [\n  {\"a\" 1}", "s.json")
                              .status()
                              .message()),
              HasSubstr("s.json:3:9: no JSON"));
  EXPECT_THAT(std::string(ReadTrainerState("{}", "s.json").status().message()),
              HasSubstr("the list 'log_history'"));
}

}  // namespace
}  // namespace steadyrun::replay
