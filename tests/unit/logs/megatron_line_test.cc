#include "agent/logs/megatron_line.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace steadyrun::agent {
namespace {

TEST(MegatronLineTest, ReadsALineOfMegatronLm) {
  const auto line = ParseMegatronLine(
      " [2024-04-06 02:59:36] iteration       43/     100 | consumed samples:"
      "         5504 | elapsed time per iteration (ms): 5444.9 | throughput "
      "per "
      "GPU (TFLOP/s/GPU): 239.8 | learning rate: 8.600000E-06 | global batch "
      "size:   128 | lm loss: 1.825991E+00 | load_balancing_loss: 1.019746E+00 "
      "| loss scale: 1.0 | grad norm: 1.426 | num zeros: 0 | number of skipped "
      "iterations:   0 | number of nan iterations:   0 |");

  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->iteration, 43);
  EXPECT_EQ(line->target_iterations, 100);
  EXPECT_NEAR(*line->step_seconds, 5.4449, 1e-9);
  EXPECT_NEAR(*line->loss, 1.825991, 1e-9);
  EXPECT_NEAR(*line->grad_norm, 1.426, 1e-9);
  EXPECT_NEAR(*line->learning_rate, 8.6e-6, 1e-15);
  EXPECT_EQ(line->loss_scale, 1.0);
  EXPECT_EQ(line->consumed_samples, 5504);
  EXPECT_EQ(line->global_batch_size, 128);
  EXPECT_EQ(line->tflops, 239.8);
  EXPECT_EQ(line->skipped_iterations, 0);
  EXPECT_EQ(line->nan_iterations, 0);
}

TEST(MegatronLineTest, ReadsSecondsPrefixesAndOtherSpellings) {
  const auto seconds = ParseMegatronLine(
      "[default7]: iteration    12695/  115311 | consumed samples: 9841584 | "
      "consumed tokens:  20155564032 | elapsed time per iteration (s): 105.22 "
      "| lm loss: 2.463556E+00 | grad norm: 0.174 | TFLOPs: 149.02 |");
  const auto dash = ParseMegatronLine(
      "3:  iteration        1/    1000 | elapsed time per iteration (ms): "
      "159778.9 | lm-loss: 1.244238E+01 | grad norm: 0.000 |");

  ASSERT_TRUE(seconds.has_value());
  EXPECT_EQ(seconds->step_seconds, 105.22);
  EXPECT_EQ(seconds->consumed_tokens, 20155564032);
  ASSERT_TRUE(dash.has_value());
  EXPECT_NEAR(*dash->loss, 12.44238, 1e-6);
}

TEST(MegatronLineTest, NanIsAValueAndAMissingLossIsNone) {
  const auto nan = ParseMegatronLine(
      " iteration     5426/  250000 | elapsed time per iteration (ms): 4247.9 "
      "| learning rate: 2.999E-04 | loss scale: 1.0 | grad norm: nan | number "
      "of skipped iterations:   0 | number of nan iterations:   0 |");
  const auto inf = ParseMegatronLine(
      " iteration 7/ 9 | elapsed time per iteration (ms): 1.0 | lm loss: inf "
      "|");

  ASSERT_TRUE(nan.has_value());
  EXPECT_FALSE(nan->loss.has_value());
  EXPECT_TRUE(std::isnan(*nan->grad_norm));
  ASSERT_TRUE(inf.has_value());
  EXPECT_TRUE(std::isinf(*inf->loss));
}

TEST(MegatronLineTest, OfTwoTornTogetherTheWholeOneCounts) {
  const auto line = ParseMegatronLine(
      " iteration 5/ 100 | consumed sam iteration 6/ 100 | elapsed time per "
      "iteration (ms): 100.0 | lm loss: 2.0 |");

  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->iteration, 6);
}

TEST(MegatronLineTest, AProgressBarGluedBeforeItDoesNotHideIt) {
  const auto line = ParseMegatronLine(
      "100%|#########| 10/10 [00:01<00:00]\xff\xfe iteration 6/ 100 | elapsed "
      "time per iteration (ms): 100.0 | lm loss: 2.0 |");

  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->iteration, 6);
}

TEST(MegatronLineTest, OtherLinesAreNone) {
  for (const char* line :
       {"", "iteration", "iteration 5/100",
        "[Rank 43] (after 1 iterations) memory (MB) | allocated: 15492.8",
        "#  iteration        2/    1000 | elapsed time per iteration (ms): 1 |",
        "saving checkpoint at iteration 500 to /x",
        "validation loss at iteration 100 | lm loss value: 2.5 | lm loss PPL: "
        "9",
        "myiteration 5/ 10 | lm loss: 2.0 |",
        "iteration 99999999999999999999/ 10 | lm loss: 2.0 |"}) {
    EXPECT_FALSE(ParseMegatronLine(line).has_value()) << line;
  }
}

TEST(MegatronLineTest, EveryPrefixOfALineIsHandled) {
  const std::string whole =
      " iteration 6/ 100 | elapsed time per iteration (ms): 100.0 | lm loss: "
      "2.0E+00 | grad norm: 1.0 |";
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const auto line = ParseMegatronLine(whole.substr(0, size));
    if (line) {
      EXPECT_EQ(line->iteration, 6);
    }
  }
}

// Real logs of other projects, where a developer has them.
TEST(MegatronLineTest, ReadsEveryIterationLineOfRealLogs) {
  const char* folder = std::getenv("STEADYRUN_REAL_LOGS");
  if (folder == nullptr) {
    GTEST_SKIP() << "STEADYRUN_REAL_LOGS names no folder of real logs";
  }
  int parsed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const bool is_megatron =
        name.find("bigsci") == 0 || name == "lines-megatron.dev.txt";
    if (!is_megatron) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    for (std::string text; std::getline(file, text);) {
      const auto line = ParseMegatronLine(text);
      const bool is_whole =
          text.find("elapsed time per iteration (") != std::string::npos &&
          text.find("number of nan iterations:") != std::string::npos &&
          text.find_first_not_of(' ') != text.find('#');
      if (is_whole) {
        EXPECT_TRUE(line.has_value()) << name << ": " << text.substr(0, 200);
      }
      if (!line) continue;
      ++parsed;
      EXPECT_GT(line->iteration, 0);
      EXPECT_LE(line->iteration, line->target_iterations);
      if (line->step_seconds) {
        EXPECT_GT(*line->step_seconds, 0.01);
        EXPECT_LT(*line->step_seconds, 5000);
      }
    }
  }
  RecordProperty("parsed", parsed);
  std::printf("parsed %d iteration lines\n", parsed);
  EXPECT_GT(parsed, 100);
}

}  // namespace
}  // namespace steadyrun::agent
