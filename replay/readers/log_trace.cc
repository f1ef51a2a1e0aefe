#include "replay/readers/log_trace.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "agent/logs/format_guess.h"
#include "base/status_macros.h"

namespace steadyrun::replay {
namespace {

using agent::StepLine;

constexpr std::int64_t kEnoughMatches = 200;
// What is longer is no line of a log; it is cut, as the agent does.
constexpr std::size_t kMaxLine = 1 << 20;

// Takes the next line off `rest`; false at the end.
bool NextLine(std::string_view* rest, std::string_view* line) {
  if (rest->empty()) return false;
  const std::size_t end = std::min(rest->find('\n'), rest->size());
  *line = rest->substr(0, std::min(end, kMaxLine));
  rest->remove_prefix(std::min(end + 1, rest->size()));
  return true;
}

// Makes a trace of the lines of one format.
class LogReader {
 public:
  LogReader(LogFormat format, LineObserver observer)
      : lines_(format),
        observer_(observer),
        builder_(std::string(LogFormatName(format))) {}

  absl::Status Take(std::size_t number, std::string_view line);
  // The last line, which may be cut off.
  void LeaveOutLast(std::size_t number, std::string_view line);
  absl::StatusOr<Trace> Finish(const std::string& file);

 private:
  absl::Status Add(std::int64_t step, const StepLine& parsed);

  agent::StepLines lines_;
  LineObserver observer_;
  TraceBuilder builder_;
};

absl::Status LogReader::Add(std::int64_t step, const StepLine& parsed) {
  TraceSample sample;
  sample.step = step;
  for (const auto& [name, value] : parsed.values) {
    if (const auto column = builder_.Column(name)) {
      sample.values.emplace_back(*column, value);
    }
  }
  return builder_.Add(sample);
}

absl::Status LogReader::Take(std::size_t number, std::string_view line) {
  const agent::ToldLine told = lines_.Take(line);
  if (told.step >= 0) {
    if (told.from_before != nullptr) {
      RETURN_IF_ERROR(Add(told.step, *told.from_before));
    }
    RETURN_IF_ERROR(Add(told.step, *told.parsed));
  }
  observer_({.line = number,
             .text = line,
             .fate = told.fate,
             .step = told.step,
             .parsed = told.parsed});
  return absl::OkStatus();
}

void LogReader::LeaveOutLast(std::size_t number, std::string_view line) {
  if (agent::ParseStepLine(lines_.format(), line)) {
    builder_.Note("the last line may be cut off and was left out");
  }
  observer_({.line = number, .text = line});
}

absl::StatusOr<Trace> LogReader::Finish(const std::string& file) {
  if (builder_.Samples() == 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: no line prints a step as {} does", file,
                    LogFormatName(lines_.format())));
  }
  if (lines_.has_counted()) {
    builder_.Note(
        "the format prints no step numbers: they are taken from the progress "
        "bar, or counted");
  }
  if (lines_.foreign() > 0) {
    builder_.Note(fmt::format(
        "{} step lines of other ranks than '{}' repeat its steps and were left "
        "out",
        lines_.foreign(), lines_.source()));
  }
  return builder_.Finish();
}

}  // namespace

LogDetection DetectLogFormat(std::string_view text) {
  agent::FormatGuess guess;
  std::string_view line;
  const auto& matched = guess.matched();
  while (*std::ranges::max_element(matched) < kEnoughMatches &&
         NextLine(&text, &line)) {
    guess.Take(line);
  }
  LogDetection detection;
  detection.lines = guess.lines();
  for (std::size_t i = 0; i < matched.size(); ++i) {
    if (matched[i] == 0) continue;
    detection.scores.push_back({kLogFormats[i], matched[i]});
  }
  std::stable_sort(detection.scores.begin(), detection.scores.end(),
                   [](const LogFormatScore& a, const LogFormatScore& b) {
                     return a.matched > b.matched;
                   });
  return detection;
}

absl::StatusOr<Trace> ReadLogTrace(std::string_view text,
                                   const std::string& file, LogFormat format,
                                   LineObserver observer) {
  LogReader reader(format, observer);
  const bool is_torn = !agent::EndsWithMark(format) && !text.ends_with('\n');
  std::string_view line;
  for (std::size_t number = 1; NextLine(&text, &line); ++number) {
    if (is_torn && text.empty()) {
      reader.LeaveOutLast(number, line);
      break;
    }
    if (const absl::Status taken = reader.Take(number, line); !taken.ok()) {
      return absl::Status(taken.code(),
                          fmt::format("{}:{}:1: {}", file, number,
                                      std::string(taken.message())));
    }
  }
  return reader.Finish(file);
}

absl::StatusOr<Trace> ReadLogTrace(std::string_view text,
                                   const std::string& file, LogFormat format) {
  return ReadLogTrace(text, file, format, [](const LineAccount&) {});
}

}  // namespace steadyrun::replay
