// Formats that print pairs of name and number in one line: verl, MindSpeed-RL,
// DeepSpeed, modded-nanogpt, llm.c and MindFormers.

#include <re2/re2.h>

#include <algorithm>
#include <string>

#include "agent/logs/step_line.h"
#include "base/number_text.h"

namespace steadyrun::agent {
namespace {

re2::StringPiece Piece(std::string_view text) {
  return {text.data(), text.size()};
}

std::string_view View(re2::StringPiece text) {
  return {text.data(), text.size()};
}

// "1.5", "1752ms", "103328 ms", "2.896T", "13.5s": the number, durations in
// seconds.
std::optional<double> ParseMeasure(std::string_view text) {
  text = Trim(text);
  double factor = 1;
  if (text.ends_with("ms")) {
    factor = 1e-3;
    text.remove_suffix(2);
  } else if (text.ends_with('s') || text.ends_with('T')) {
    text.remove_suffix(1);
  }
  const auto value = ParseNumber(text);
  if (!value) return std::nullopt;
  return *value * factor;
}

// "name:number" or "name : number" between separators; a name may hold colons.
void AddPairs(std::string_view fields, std::string_view between,
              StepLine* line) {
  while (!fields.empty()) {
    const std::size_t end = std::min(fields.find(between), fields.size());
    const std::string_view field = Trim(fields.substr(0, end));
    fields.remove_prefix(std::min(end + between.size(), fields.size()));
    const std::size_t colon = field.rfind(':');
    if (colon == std::string_view::npos || colon == 0) continue;
    const auto value = ParseNumber(field.substr(colon + 1));
    if (!value) continue;
    line->values.emplace_back(Trim(field.substr(0, colon)), *value);
  }
}

struct Alias {
  std::string_view printed;
  std::string_view name;
};

void AddAlias(const Alias* begin, const Alias* end, std::string_view printed,
              double value, StepLine* line) {
  for (const Alias* alias = begin; alias != end; ++alias) {
    if (alias->printed != printed) continue;
    const auto has_name = [&](const auto& pair) {
      return pair.first == alias->name;
    };
    if (std::none_of(line->values.begin(), line->values.end(), has_name)) {
      line->values.emplace_back(alias->name, value);
    }
  }
}

constexpr Alias kMindFormersAliases[] = {
    {"loss", "loss"},
    {"per_step_time", "step_time"},
    {"time", "step_time"},
    {"lr", "learning_rate"},
    {"loss_scale", "loss_scale"},
    {"global_norm", "grad_norm"},
    {"grad_norm", "grad_norm"},
};

}  // namespace

std::optional<StepLine> ParseVerlLine(std::string_view line) {
  static const RE2 kHead(R"re((?:^|[^\w/])step:(\d{1,12}) - )re", RE2::Latin1);
  if (line.find("step:") == std::string_view::npos) return std::nullopt;
  re2::StringPiece rest = Piece(line);
  StepLine result;
  if (!RE2::FindAndConsume(&rest, kHead, &result.step)) return std::nullopt;
  AddPairs(View(rest), " - ", &result);
  AddStandardNames(&result);
  if (result.values.empty()) return std::nullopt;
  return result;
}

std::optional<StepLine> ParseMindSpeedLine(std::string_view line) {
  static const RE2 kHead(
      R"re((?:^|[^A-Za-z0-9_])iteration: (\d{1,12}) / \d{1,12} \|)re",
      RE2::Latin1);
  if (line.find("iteration: ") == std::string_view::npos) return std::nullopt;
  re2::StringPiece rest = Piece(line);
  StepLine result;
  if (!RE2::FindAndConsume(&rest, kHead, &result.step)) return std::nullopt;
  AddPairs(View(rest), "|", &result);
  AddStandardNames(&result);
  if (result.values.empty()) return std::nullopt;
  return result;
}

std::optional<StepLine> ParseDeepSpeedLine(std::string_view line) {
  static const RE2 kStep(
      R"re((?:^|[ \]])step=(\d{1,12}), skipped=(\d{1,12})(?:, lr=\[([^,\]]*))?)re",
      RE2::Latin1);
  static const RE2 kOverflow(
      R"re(OVERFLOW! .*Attempted loss scale: ([\d.e+]+), reducing to ([\d.e+]+))re",
      RE2::Latin1);
  StepLine result;
  std::int64_t skipped = 0;
  re2::StringPiece rate;
  if (line.find("step=") != std::string_view::npos &&
      RE2::PartialMatch(Piece(line), kStep, &result.step, &skipped, &rate)) {
    result.values.emplace_back("skipped_steps", static_cast<double>(skipped));
    if (const auto value = ParseNumber(View(rate))) {
      result.values.emplace_back("learning_rate", *value);
    }
    return result;
  }
  re2::StringPiece scale;
  if (line.find("OVERFLOW!") != std::string_view::npos &&
      RE2::PartialMatch(Piece(line), kOverflow, nullptr, &scale)) {
    const auto value = ParseNumber(View(scale));
    if (!value) return std::nullopt;
    result.step_of = StepOf::kNext;
    result.values.emplace_back("loss_scale", *value);
    return result;
  }
  return std::nullopt;
}

std::optional<StepLine> ParseNanoGptLine(std::string_view line) {
  static const RE2 kHead(R"re((?:^|\s)step:(\d{1,12})/\d{1,12}\s)re",
                         RE2::Latin1);
  static const RE2 kPair(R"re(([A-Za-z_][\w/]*):(\S+))re", RE2::Latin1);
  if (line.find("step:") == std::string_view::npos) return std::nullopt;
  re2::StringPiece rest = Piece(line);
  StepLine result;
  if (!RE2::FindAndConsume(&rest, kHead, &result.step)) return std::nullopt;
  re2::StringPiece name;
  re2::StringPiece text;
  while (RE2::FindAndConsume(&rest, kPair, &name, &text)) {
    const auto value = ParseMeasure(View(text));
    // The mean since the start, nan until it is known: no step's time.
    if (!value || View(name) == "step_avg") continue;
    result.values.emplace_back(
        View(name) == "train_loss" ? "loss" : std::string(View(name)), *value);
  }
  if (result.values.empty()) return std::nullopt;
  return result;
}

std::optional<StepLine> ParseLlmCLine(std::string_view line) {
  static const RE2 kHead(R"re(^\s*s:(\d{1,12})\s)re", RE2::Latin1);
  static const RE2 kPair(R"re((trl|tel|lr|norm):(\S+))re", RE2::Latin1);
  re2::StringPiece rest = Piece(line);
  StepLine result;
  if (!RE2::FindAndConsume(&rest, kHead, &result.step)) return std::nullopt;
  re2::StringPiece name;
  re2::StringPiece text;
  while (RE2::FindAndConsume(&rest, kPair, &name, &text)) {
    const auto value = ParseNumber(View(text));
    if (!value) continue;
    const std::string_view printed = View(name);
    result.values.emplace_back(printed == "trl"    ? "loss"
                               : printed == "tel"  ? "val_loss"
                               : printed == "norm" ? "grad_norm"
                                                   : "learning_rate",
                               *value);
  }
  if (result.values.empty()) return std::nullopt;
  return result;
}

std::optional<StepLine> ParseMindFormersLine(std::string_view line) {
  static const RE2 kEpoch(R"re(Epoch:\[\s*(\d{1,9})/\s*\d{1,9}\])re",
                          RE2::Latin1);
  static const RE2 kStep(R"re(step:\[\s*(\d{1,12})/\s*(\d{1,12})\])re",
                         RE2::Latin1);
  // The colon is missing in some versions' "global_norm [10.5]".
  static const RE2 kPair(
      R"re(,\s*([A-Za-z_][\w ]*?)(?::\s*(\[[^\]]*\]|[^,{}]+)|\s+(\[[^\]]*\])))re",
      RE2::Latin1);
  if (line.find("step:[") == std::string_view::npos) return std::nullopt;
  std::int64_t epoch = 1;
  std::int64_t steps = 0;
  StepLine result;
  re2::StringPiece rest = Piece(line);
  RE2::PartialMatch(rest, kEpoch, &epoch);
  if (!RE2::FindAndConsume(&rest, kStep, &result.step, &steps)) {
    return std::nullopt;
  }
  // Steps are counted within the epoch.
  if (epoch > 1 && epoch < 1'000'000 && steps < 1'000'000'000) {
    result.step += (epoch - 1) * steps;
  }
  re2::StringPiece name;
  re2::StringPiece after_colon;
  re2::StringPiece in_brackets;
  while (RE2::FindAndConsume(&rest, kPair, &name, &after_colon, &in_brackets)) {
    std::string_view value_text =
        Trim(View(after_colon.data() != nullptr ? after_colon : in_brackets));
    if (View(name) == "overflow cond") {
      result.values.emplace_back("overflow", value_text == "True" ? 1 : 0);
      continue;
    }
    // "[2.244/2.244]": the step's loss and the mean of its sink.
    if (const std::size_t slash = value_text.find('/');
        value_text.starts_with('[') && slash != std::string_view::npos) {
      value_text = value_text.substr(1, slash - 1);
    }
    const auto value = ParseMeasure(value_text);
    if (!value) continue;  // "[1 31049]" says nothing certain.
    const std::size_t before = result.values.size();
    AddAlias(std::begin(kMindFormersAliases), std::end(kMindFormersAliases),
             View(name), *value, &result);
    if (result.values.size() == before) {
      result.values.emplace_back(View(name), *value);
    }
  }
  if (result.values.empty()) return std::nullopt;
  return result;
}

}  // namespace steadyrun::agent
