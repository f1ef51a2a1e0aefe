#include "replay/readers/trainer_state.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/number_text.h"
#include "base/status_macros.h"

namespace steadyrun::replay {
namespace {

using nlohmann::json;

// The bare words NaN, Infinity and -Infinity as strings. Lines stay; columns
// in messages are off by the quotes before them on the line.
std::string WithQuotedWords(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 64);
  bool is_in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') is_in_string = !is_in_string;
    if (is_in_string && c == '\\' && i + 1 < text.size()) {
      out.append(text.substr(i, 2));
      i += 2;
      continue;
    }
    std::size_t length = 0;
    if (!is_in_string) {
      for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
        if (text.substr(i).starts_with(word)) length = word.size();
      }
    }
    if (length > 0) {
      out += '"';
      out.append(text.substr(i, length));
      out += '"';
      i += length;
      continue;
    }
    out += c;
    ++i;
  }
  return out;
}

absl::Status SyntaxError(const std::string& file, std::string_view text,
                         const json::parse_error& error) {
  const std::string_view before =
      text.substr(0, std::min<std::size_t>(error.byte, text.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t begin = before.rfind('\n');
  const std::size_t column =
      begin == std::string_view::npos ? before.size() : before.size() - begin;
  // The library's own text names a line and column again; the end says why.
  const std::string what = error.what();
  const std::size_t colon = what.find(": ");
  return absl::InvalidArgumentError(fmt::format(
      "{}:{}:{}: no JSON: {}", file, line, std::max<std::size_t>(column, 1),
      colon == std::string::npos ? what : what.substr(colon + 2)));
}

absl::Status TakeEntry(const json& entry, TraceBuilder* builder) {
  const auto step = entry.find("step");
  if (step == entry.end() || !step->is_number()) return absl::OkStatus();
  // The summary at the end is of no step.
  if (entry.contains("train_runtime")) return absl::OkStatus();
  const double number = step->get<double>();
  if (!(number >= 0 && number < 1e12)) {
    return absl::InvalidArgumentError(
        fmt::format("step {} is out of range", number));
  }
  TraceSample sample;
  sample.step = static_cast<std::int64_t>(number);
  for (const auto& [name, value] : entry.items()) {
    if (name == "step") continue;
    std::optional<double> parsed;
    if (value.is_number()) parsed = value.get<double>();
    if (value.is_string()) {
      parsed = ParseNumber(value.get_ref<const std::string&>());
    }
    const auto column = parsed ? builder->Column(name) : std::nullopt;
    if (column) sample.values.emplace_back(*column, *parsed);
  }
  return builder->Add(sample);
}

}  // namespace

absl::StatusOr<Trace> ReadTrainerState(std::string_view text,
                                       const std::string& file) {
  const std::string quoted = WithQuotedWords(text);
  json document;
  try {
    document = json::parse(quoted);
  } catch (const json::parse_error& error) {
    return SyntaxError(file, quoted, error);
  } catch (const json::exception& error) {  // A number beyond a double's range.
    return absl::InvalidArgumentError(
        fmt::format("{}:1:1: no JSON: {}", file, error.what()));
  }
  if (!document.is_object() || !document.contains("log_history") ||
      !document["log_history"].is_array()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}:1:1: expected the trainer_state.json of Hugging Face's Trainer: an "
        "object with the list 'log_history'",
        file));
  }
  TraceBuilder builder("trainer_state");
  std::size_t index = 0;
  for (const json& entry : document["log_history"]) {
    const absl::Status taken =
        entry.is_object() ? TakeEntry(entry, &builder) : absl::OkStatus();
    if (!taken.ok()) {
      return absl::Status(taken.code(),
                          fmt::format("{}: log_history[{}]: {}", file, index,
                                      std::string(taken.message())));
    }
    ++index;
  }
  if (builder.Samples() == 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: 'log_history' holds no entry with a step", file));
  }
  return builder.Finish();
}

}  // namespace steadyrun::replay
