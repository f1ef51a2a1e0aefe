// Formats that print dictionaries: Hugging Face's Trainer, OpenRLHF, MLPerf's
// logger, JSON lines; and OLMo's block of a header and a metric a line.

#include <re2/re2.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/logs/step_line.h"
#include "base/number_text.h"

namespace steadyrun::agent {
namespace {

using nlohmann::json;

// A longer line is no step of a log; parsing it would only cost.
constexpr std::size_t kMaxJsonLine = 1 << 20;

std::string_view View(re2::StringPiece text) {
  return {text.data(), text.size()};
}

// Numbers, and the strings "NaN" and "Infinity" that JSON has no number for.
std::optional<double> NumberOf(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) {
    return ParseNumber(value.get_ref<const std::string&>());
  }
  return std::nullopt;
}

// A key in quotes and what follows up to the next comma or bracket; newer
// Trainers print their numbers in quotes. An np.float64(..) or tensor(..) is
// one value.
void AddDictPairs(std::string_view text, StepLine* line) {
  static const RE2 kPair(
      R"re(['"]([^'"{}:,]{1,200})['"]\s*:\s*['"]?([A-Za-z_.\d]+\([^)]*\)|[^,{}'"]+))re",
      RE2::Latin1);
  re2::StringPiece rest(text.data(), text.size());
  re2::StringPiece name;
  re2::StringPiece number;
  while (RE2::FindAndConsume(&rest, kPair, &name, &number)) {
    const auto value = ParseNumber(View(number));
    if (value) line->values.emplace_back(View(name), *value);
  }
}

json ParseObject(std::string_view text) {
  if (text.size() > kMaxJsonLine) return json(json::value_t::discarded);
  return json::parse(text.begin(), text.end(), nullptr,
                     /*allow_exceptions=*/false);
}

std::optional<std::int64_t> StepIn(const json& object) {
  for (const char* key : {"step", "global_step", "iteration"}) {
    const auto it = object.find(key);
    if (it == object.end() || !it->is_number()) continue;
    const double step = it->get<double>();
    if (step >= 0 && step < 1e12) return static_cast<std::int64_t>(step);
  }
  return std::nullopt;
}

void AddNumbers(const json& object, StepLine* line) {
  for (const auto& [name, value] : object.items()) {
    if (name == "step" || name == "global_step" || name == "iteration") {
      continue;
    }
    if (!value.is_number()) continue;
    line->values.emplace_back(name, value.get<double>());
  }
}

}  // namespace

std::optional<StepLine> ParseHuggingFaceLine(std::string_view line) {
  const bool has_loss = line.find("'loss'") != std::string_view::npos ||
                        line.find("\"loss\"") != std::string_view::npos;
  const bool is_evaluation =
      !has_loss && line.find("'eval_loss'") != std::string_view::npos;
  if (!has_loss && !is_evaluation) return std::nullopt;
  if (line.find("MLLOG") != std::string_view::npos) return std::nullopt;
  StepLine result;
  result.step_of = is_evaluation ? StepOf::kPrevious : StepOf::kCounted;
  AddDictPairs(line, &result);
  const auto step = std::find_if(
      result.values.begin(), result.values.end(), [](const auto& value) {
        return (value.first == "step" || value.first == "global_step") &&
               value.second >= 0 && value.second < 1e12;
      });
  if (step != result.values.end()) {
    result.step_of = StepOf::kLine;
    result.step = static_cast<std::int64_t>(step->second);
    result.values.erase(step);
  }
  if (result.values.empty()) return std::nullopt;
  return result;
}

std::optional<StepLine> ParseOpenRlhfLine(std::string_view line) {
  static const RE2 kHead(R"re(Global step (\d{1,12})(?: \[\w+\])?: \{)re",
                         RE2::Latin1);
  if (line.find("Global step ") == std::string_view::npos) return std::nullopt;
  re2::StringPiece rest(line.data(), line.size());
  StepLine result;
  if (!RE2::FindAndConsume(&rest, kHead, &result.step)) return std::nullopt;
  AddDictPairs(View(rest), &result);
  AddStandardNames(&result);
  if (result.values.empty()) return std::nullopt;
  return result;
}

std::optional<StepLine> ParseOlmoLine(std::string_view line) {
  static const RE2 kHead(
      R"re(\[step=([\d,]{1,16})(?:/[\d,]+)?(?:,[^\]]*)?\])re", RE2::Latin1);
  static const RE2 kMetric(
      R"re(^(?:.*\s)?\s{2,}([A-Za-z][\w /()-]*[\w)])=([-+]?[\d.,]+(?:[eE][-+]?\d+)?|nan|-?inf)\s*$)re",
      RE2::Latin1);
  const re2::StringPiece text(line.data(), line.size());
  StepLine result;
  re2::StringPiece digits;
  if (line.find("[step=") != std::string_view::npos &&
      RE2::PartialMatch(text, kHead, &digits)) {
    std::string plain(View(digits));
    std::erase(plain, ',');
    const auto step = ParseNumber(plain);
    if (!step || *step >= 1e12) return std::nullopt;
    result.step = static_cast<std::int64_t>(*step);
    return result;
  }
  re2::StringPiece name;
  re2::StringPiece number;
  if (line.find('=') == std::string_view::npos ||
      !RE2::PartialMatch(text, kMetric, &name, &number)) {
    return std::nullopt;
  }
  std::string plain(View(number));
  std::erase(plain, ',');
  const auto value = ParseNumber(plain);
  if (!value) return std::nullopt;
  result.step_of = StepOf::kPrevious;
  result.values.emplace_back(View(name), *value);
  AddStandardNames(&result);
  return result;
}

std::optional<StepLine> ParseMlPerfLine(std::string_view line) {
  const std::size_t mark = line.find(":::MLLOG");
  if (mark == std::string_view::npos ||
      line.find("tracked_stats", mark) == std::string_view::npos) {
    return std::nullopt;
  }
  const std::size_t open = std::min(line.find('{', mark), line.size());
  const std::size_t close = line.rfind('}');  // Text may follow.
  if (close == std::string_view::npos || close < open) return std::nullopt;
  const json object = ParseObject(line.substr(open, close - open + 1));
  if (!object.is_object() || !object.contains("value") ||
      !object["value"].is_object() || !object.contains("metadata") ||
      !object["metadata"].is_object()) {
    return std::nullopt;
  }
  const auto step = StepIn(object["metadata"]);
  if (!step) return std::nullopt;
  StepLine result;
  result.step = *step;
  for (const auto& [name, value] : object["value"].items()) {
    if (const auto number = NumberOf(value)) {
      result.values.emplace_back(
          name == "reduced_train_loss" || name == "train_loss" ? "loss"
          : name == "train_step_time"                          ? "step_time"
                                                               : name,
          *number);
    }
  }
  if (result.values.empty()) return std::nullopt;
  return result;
}

std::optional<StepLine> ParseJsonLine(std::string_view line) {
  const std::string_view text = Trim(line);
  if (!text.starts_with('{') || !text.ends_with('}')) return std::nullopt;
  const json object = ParseObject(text);
  if (!object.is_object()) return std::nullopt;
  const auto step = StepIn(object);
  if (!step) return std::nullopt;
  StepLine result;
  result.step = *step;
  AddNumbers(object, &result);
  if (const auto data = object.find("data");
      data != object.end() && data->is_object()) {
    AddNumbers(*data, &result);
  }
  AddStandardNames(&result);
  if (result.values.empty()) return std::nullopt;
  return result;
}

}  // namespace steadyrun::agent
