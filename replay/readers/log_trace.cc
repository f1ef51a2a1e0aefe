#include "replay/readers/log_trace.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>

#include "base/status_macros.h"

namespace steadyrun::replay {
namespace {

using agent::LogFormat;
using agent::StepLine;
using agent::StepOf;

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

// A step line of these formats ends with a mark of its own; of the others, a
// last line without its line break may end within a number.
bool EndsWithMark(LogFormat format) {
  switch (format) {
    case LogFormat::kMegatron:
    case LogFormat::kMindFormers:
    case LogFormat::kHuggingFace:
    case LogFormat::kMlPerf:
    case LogFormat::kJsonLines:
      return true;
    case LogFormat::kVerl:
    case LogFormat::kDeepSpeed:
    case LogFormat::kOlmo:
    case LogFormat::kNanoGpt:
    case LogFormat::kLlmC:
      return false;
  }
  return false;
}

// Puts the lines of one format together.
class LogReader {
 public:
  LogReader(LogFormat format, LineObserver observer)
      : format_(format),
        observer_(observer),
        builder_(std::string(agent::LogFormatName(format))) {}

  absl::Status Take(std::size_t number, std::string_view line);
  // The last line, which may be cut off.
  void LeaveOutLast(std::size_t number, std::string_view line);
  absl::StatusOr<Trace> Finish(const std::string& file);

 private:
  void WatchBar(std::string_view line);
  std::int64_t CountedStep() const;
  bool IsOfOtherSource(std::string_view line, std::int64_t step);
  absl::Status Add(std::int64_t step, const StepLine& parsed);

  LogFormat format_;
  LineObserver observer_;
  TraceBuilder builder_;
  std::int64_t last_ = -1;  // Newest printed step.
  StepLine pending_;        // For the next step.
  agent::ProgressBar bar_;
  std::string source_;
  std::int64_t foreign_in_a_row_ = 0;
  std::int64_t foreign_ = 0;
  bool has_counted_ = false;
};

// Trainers draw bars for other loops too; the longest is the training's.
void LogReader::WatchBar(std::string_view line) {
  if (format_ != LogFormat::kHuggingFace) return;
  const auto bar = agent::FindProgressBar(line);
  if (bar && bar->total >= bar_.total) bar_ = *bar;
}

std::int64_t LogReader::CountedStep() const {
  return bar_.total > 0 && bar_.done > last_
             ? bar_.done
             : std::max<std::int64_t>(last_, 0) + 1;
}

// Several ranks may print the same lines, interleaved. The first one is
// followed; another takes over when it prints steps ahead, or when the first
// has fallen silent.
bool LogReader::IsOfOtherSource(std::string_view line, std::int64_t step) {
  constexpr std::int64_t kSilent = 16;
  const std::string_view source = agent::LineSource(line);
  if (last_ < 0 || source == source_ || step > last_ ||
      ++foreign_in_a_row_ > kSilent) {
    foreign_in_a_row_ = 0;
    source_ = source;
    return false;
  }
  ++foreign_;
  return true;
}

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
  LineAccount account{.line = number, .text = line};
  WatchBar(line);
  const std::optional<StepLine> parsed = agent::ParseStepLine(format_, line);
  if (!parsed) {
    observer_(account);
    return absl::OkStatus();
  }
  account.parsed = &*parsed;
  account.fate = LineAccount::Fate::kMatched;
  std::int64_t step = parsed->step;
  switch (parsed->step_of) {
    case StepOf::kLine:
      if (IsOfOtherSource(line, step)) {
        account.fate = LineAccount::Fate::kOtherSource;
        observer_(account);
        return absl::OkStatus();
      }
      break;
    case StepOf::kCounted:
      has_counted_ = true;
      step = CountedStep();
      break;
    case StepOf::kPrevious:
      step = last_;
      break;
    case StepOf::kNext:
      pending_.values = parsed->values;  // A later one corrects it.
      observer_(account);
      return absl::OkStatus();
  }
  if (step < 0) {
    account.fate = LineAccount::Fate::kNoStep;
    observer_(account);
    return absl::OkStatus();
  }
  account.step = step;
  if (parsed->step_of != StepOf::kPrevious && !pending_.values.empty()) {
    RETURN_IF_ERROR(Add(step, pending_));
    pending_.values.clear();
  }
  RETURN_IF_ERROR(Add(step, *parsed));
  last_ = step;
  observer_(account);
  return absl::OkStatus();
}

void LogReader::LeaveOutLast(std::size_t number, std::string_view line) {
  if (agent::ParseStepLine(format_, line)) {
    builder_.Note("the last line may be cut off and was left out");
  }
  observer_({.line = number, .text = line});
}

absl::StatusOr<Trace> LogReader::Finish(const std::string& file) {
  if (builder_.Samples() == 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: no line prints a step as {} does", file,
                    agent::LogFormatName(format_)));
  }
  if (has_counted_) {
    builder_.Note(
        "the format prints no step numbers: they are taken from the progress "
        "bar, or counted");
  }
  if (foreign_ > 0) {
    builder_.Note(fmt::format(
        "{} step lines of other ranks than '{}' repeat its steps and were left "
        "out",
        foreign_, source_));
  }
  return builder_.Finish();
}

}  // namespace

LogDetection DetectLogFormat(std::string_view text) {
  LogDetection detection;
  std::array<std::int64_t, agent::kLogFormats.size()> matched{};
  std::int64_t best = 0;
  std::string_view line;
  while (best < kEnoughMatches && NextLine(&text, &line)) {
    ++detection.lines;
    for (std::size_t i = 0; i < matched.size(); ++i) {
      const auto parsed = agent::ParseStepLine(agent::kLogFormats[i], line);
      if (!parsed || (parsed->step_of != StepOf::kLine &&
                      parsed->step_of != StepOf::kCounted)) {
        continue;
      }
      best = std::max(best, ++matched[i]);
    }
  }
  for (std::size_t i = 0; i < matched.size(); ++i) {
    if (matched[i] == 0) continue;
    detection.scores.push_back({agent::kLogFormats[i], matched[i]});
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
  const bool is_torn = !EndsWithMark(format) && !text.ends_with('\n');
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
