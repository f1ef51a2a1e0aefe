#pragma once

// The formats of training logs, and the words by which a run asks for one:
// the only table of them, for the CLI, the service, the agent and the replay.

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace steadyrun {

enum class LogFormat {
  kMegatron,     // Megatron-LM, Megatron-DeepSpeed, MindSpeed-LLM.
  kMindFormers,  // MindSpore Transformers, old and new trainer.
  kMindSpeed,    // MindSpeed-RL: "iteration: 1 / 100 | actor/entropy : 0.2".
  kVerl,         // verl's console: "step:7 - actor/entropy:0.2 - ...".
  kOpenRlhf,     // "Global step 7: {'policy_loss': 0.1, ..}".
  kDeepSpeed,    // "step=10, skipped=6, lr=[..], mom=[..]".
  kHuggingFace,  // Trainer's and TRL's dict lines, without a step number.
  kOlmo,         // OLMo's "[step=10/100]" with a metric a line below.
  kMlPerf,       // ":::MLLOG {..tracked_stats..}".
  kNanoGpt,      // "step:1/6200 train_loss:10.9 train_time:74701ms".
  kLlmC,         // llm.c: "s:1 trl:10.9 lr:0.000002 norm:15.2".
  kJsonLines,    // One JSON object a step, as verl's file logger writes.
};
// In the order in which a tie is decided: the stricter one first.
inline constexpr std::array kLogFormats = {
    LogFormat::kMegatron, LogFormat::kMindFormers, LogFormat::kMindSpeed,
    LogFormat::kVerl,     LogFormat::kOpenRlhf,    LogFormat::kDeepSpeed,
    LogFormat::kMlPerf,   LogFormat::kJsonLines,   LogFormat::kHuggingFace,
    LogFormat::kOlmo,     LogFormat::kNanoGpt,     LogFormat::kLlmC};
std::string_view LogFormatName(LogFormat format);  // "megatron", "verl", ...

// By its name or by that of a trainer that prints the same ("trl" is "hf",
// "mindspeed-llm" is "megatron"). Absent: neither.
std::optional<LogFormat> FindLogFormat(std::string_view name);

// Told from the first lines that print a step.
inline constexpr std::string_view kAutoLogFormat = "auto";

// Formats of files, not of lines.
inline constexpr std::string_view kTensorBoardFormat = "tensorboard";
inline constexpr std::string_view kDeepSpeedCsvFormat = "deepspeed-csv";

// Whether RunSpec.log_format and .log_path can be followed: "" (nothing is),
// "auto" or what FindLogFormat knows, of the ranks' output or of a file;
// or a format of files with the directory they are in.
// INVALID_ARGUMENT: says which are known.
absl::Status CheckLogSource(std::string_view format, std::string_view path);
// "megatron, verl, ..."; all that FindLogFormat knows.
std::string LineLogFormats();
// "auto, megatron, ..."; all that CheckLogSource takes.
std::string KnownLogFormats();

// "{rank}" in a log path, which gives each rank a file of its own.
inline constexpr std::string_view kRankInPath = "{rank}";

}  // namespace steadyrun
