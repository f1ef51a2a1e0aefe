#include "agent/logs/format_guess.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/replay/real_data.h"

namespace steadyrun::agent {
namespace {

// What is decided after these lines: a name, or "".
std::string Decided(const std::vector<std::string>& lines) {
  FormatGuess guess;
  for (const std::string& line : lines) guess.Take(line);
  return guess.Decided() ? std::string(LogFormatName(*guess.Decided())) : "";
}

TEST(FormatGuessTest, OneLineOfAFormatLikeNoOtherIsEnough) {
  EXPECT_EQ(Decided({" iteration 1/ 9 | consumed samples: 4 | lm loss: 2.5 |"}),
            "megatron");
  EXPECT_EQ(Decided({"{ Epoch:[  1/  2], step:[    2/  125], loss: 9.5, "
                     "per_step_time: 1ms, lr: 1e-05 }"}),
            "mindformers");
  EXPECT_EQ(Decided({"[2025-03-01 12:00:00] iteration: 1 / 100 | "
                     "actor/entropy : 0.2500 | timing/all : 12.5000 "}),
            "mindspeed");
  EXPECT_EQ(Decided({"(TaskRunner pid=7) step:1 - actor/pg_loss:0.5"}), "verl");
  EXPECT_EQ(Decided({"INFO x.py:5] \xE2\x9C\xA8 Global step 1: {'reward': 0.5, "
                     "'policy_loss': 0.25}"}),
            "openrlhf");
  EXPECT_EQ(
      Decided({R"(0: :::MLLOG {"key": "tracked_stats", "value": )"
               R"({"reduced_train_loss": 5.5}, "metadata": {"step": 8}})"}),
      "mlperf");
}

TEST(FormatGuessTest, WhatAnybodyMightPrintIsNotBelievedAtOnce) {
  const std::string hf = "{'loss': 2.5, 'grad_norm': 1.0, 'epoch': 0.1}";
  EXPECT_EQ(Decided({hf}), "");
  EXPECT_EQ(Decided({hf, "text", hf}), "hf");
  const std::string json = R"({"step": 1, "loss": 2.5})";
  EXPECT_EQ(Decided({json}), "");
  EXPECT_EQ(Decided({json, json}), "jsonl");
  // Without a loss it says nothing of a training.
  const std::string request = R"({"step": 1, "latency_ms": 2.5})";
  EXPECT_EQ(Decided({request, request, request}), "");
}

TEST(FormatGuessTest, TheTrainersOwnLinesTakeOverFromDeepSpeeds) {
  const std::string deepspeed =
      "[2023] [INFO] [Rank 0] step=10, skipped=0, lr=[5e-05], mom=[0.9]";
  const std::string hf = "{'loss': 2.5, 'grad_norm': 1.0, 'epoch': 0.1}";
  EXPECT_EQ(Decided({deepspeed, deepspeed}), "");
  EXPECT_EQ(Decided({deepspeed, deepspeed, deepspeed}), "deepspeed");
  EXPECT_EQ(Decided({deepspeed, deepspeed, deepspeed, hf, hf}), "hf");
  EXPECT_EQ(Decided({hf, deepspeed, hf, deepspeed, deepspeed, deepspeed}),
            "hf");
}

TEST(FormatGuessTest, ColoursAndPrefixesDoNotMatter) {
  EXPECT_EQ(Decided({"\x1b[36m(TaskRunner pid=7)\x1b[0m "
                     "\x1b[32mstep:1 - actor/pg_loss:0.5\x1b[0m"}),
            "verl");
  EXPECT_EQ(Decided({"\x1b[1m[default3]:\x1b[0m\x1b[33miteration 1/ 9 | lm "
                     "loss: 2.5 |\x1b[0m"}),
            "megatron");
}

TEST(FormatGuessTest, WordsThatOnlyLookLikeStepsDecideNothing) {
  EXPECT_EQ(
      Decided({"step: loading the model", "iteration over the data set",
               "# iteration 1/ 9 | lm loss: 2.5 |",  // Echoed by a script.
               "{'loss': 'cross_entropy', 'lr': 0.1}",
               "{'loss': 'cross_entropy', 'lr': 0.1}",
               "Namespace(loss=0.5, step=10)", "[step", "step:", "step:x - y:1",
               "loss: 0.5", "iteration: 5 / 10", "Global step 5:",
               "2024-01-01 step=5 of the pipeline", "{}", "{\"step\": 1}"}),
      "");
}

TEST(FormatGuessTest, HugeAndBinaryLinesDecideNothing) {
  std::mt19937 random(7);  // Any seed: bytes of no meaning.
  FormatGuess guess;
  for (int i = 0; i < 200; ++i) {
    std::string bytes(1 + random() % 5000, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    guess.Take(bytes);
  }
  guess.Take(std::string(1 << 20, '{'));
  guess.Take(std::string(1 << 20, '\x1b'));
  guess.Take("step:1 - " + std::string(1 << 20, '-'));
  std::string deep;
  for (int i = 0; i < 200'000; ++i) deep += "{\"step\":";
  guess.Take(deep);
  EXPECT_FALSE(guess.Decided());
  EXPECT_EQ(guess.lines(), 204);
}

// The real logs: each is told as what the reader of recordings finds with far
// more of it, and none of the crash reports as anything.
TEST(FormatGuessTest, RealLogs) {
  using replay::DataFiles;
  SKIP_WITHOUT_DATA();
  int logs = 0;
  for (const auto& file : DataFiles("logs", ".log")) {
    const std::string name = file.filename().string();
    FormatGuess guess;
    std::ifstream in(file);
    std::string line;
    while (!guess.Decided() && std::getline(in, line)) guess.Take(line);
    std::string expected;
    if (name.starts_with("bigsci-")) expected = "megatron";
    if (name.starts_with("mlp51-")) expected = "mlperf";
    if (name.starts_with("rl-")) expected = "verl";
    if (name.starts_with("mng-")) expected = "nanogpt";
    if (name.starts_with("llmc-")) expected = "llmc";
    if (expected.empty()) continue;
    EXPECT_EQ(guess.Decided() ? LogFormatName(*guess.Decided()) : "", expected)
        << name;
    ++logs;
  }
  EXPECT_GT(logs, 20);
}

}  // namespace
}  // namespace steadyrun::agent
