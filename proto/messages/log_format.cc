#include "proto/messages/log_format.h"

namespace steadyrun {
namespace {

struct Word {
  std::string_view word;
  LogFormat format;
};

// A format's own name comes before the other trainers that print it.
constexpr Word kWords[] = {
    {"megatron", LogFormat::kMegatron},
    {"mindspeed-llm", LogFormat::kMegatron},
    {"mindformers", LogFormat::kMindFormers},
    {"mindspeed", LogFormat::kMindSpeed},
    {"mindspeed-rl", LogFormat::kMindSpeed},
    {"verl", LogFormat::kVerl},
    {"openrlhf", LogFormat::kOpenRlhf},
    {"deepspeed", LogFormat::kDeepSpeed},
    {"hf", LogFormat::kHuggingFace},
    {"trl", LogFormat::kHuggingFace},
    {"olmo", LogFormat::kOlmo},
    {"mlperf", LogFormat::kMlPerf},
    {"nanogpt", LogFormat::kNanoGpt},
    {"llmc", LogFormat::kLlmC},
    {"jsonl", LogFormat::kJsonLines},
};

}  // namespace

std::string_view LogFormatName(LogFormat format) {
  for (const Word& word : kWords) {
    if (word.format == format) return word.word;
  }
  return "unknown";
}

std::optional<LogFormat> FindLogFormat(std::string_view name) {
  for (const Word& word : kWords) {
    if (word.word == name) return word.format;
  }
  return std::nullopt;
}

absl::Status CheckLogSource(std::string_view format, std::string_view path) {
  const auto bad = [&](std::string_view what) {
    return absl::InvalidArgumentError(std::string(what));
  };
  if (format.empty()) {
    return path.empty() ? absl::OkStatus()
                        : bad("log_path: found one without a log_format");
  }
  if (format == kTensorBoardFormat || format == kDeepSpeedCsvFormat) {
    return path.empty() ? bad("log_path: found none; expected the directory "
                              "that the training writes its events or CSV to")
                        : absl::OkStatus();
  }
  if (format == kAutoLogFormat || FindLogFormat(format)) {
    return absl::OkStatus();
  }
  return bad("log_format: found '" + std::string(format) +
             "'; expected none or one of " + KnownLogFormats());
}

std::string LineLogFormats() {
  std::string text;
  for (const Word& word : kWords) {
    if (!text.empty()) text += ", ";
    text += word.word;
  }
  return text;
}

std::string KnownLogFormats() {
  std::string text = std::string(kAutoLogFormat) + ", " + LineLogFormats();
  for (const std::string_view files :
       {kTensorBoardFormat, kDeepSpeedCsvFormat}) {
    text += ", ";
    text += files;
  }
  return text;
}

}  // namespace steadyrun
