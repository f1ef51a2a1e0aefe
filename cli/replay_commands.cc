#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/nearest_word.h"
#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/policy_file.h"
#include "cli/replay_text.h"
#include "cli/table.h"
#include "replay/labels.h"
#include "replay/readers/csv_trace.h"
#include "replay/readers/read_trace.h"

namespace steadyrun::cli {
namespace {

void PrintJson(const nlohmann::ordered_json& json) {
  std::puts(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                .c_str());
}

replay::ScoreOptions OptionsFor(const replay::Trace& trace, Advice least) {
  replay::ScoreOptions options;
  options.step_stride = trace.StepStride();
  if (trace.StepSeconds() > 0) options.step_seconds = trace.StepSeconds();
  options.least = least;
  return options;
}

absl::Status Judge(const std::string& labels_file, BacktestReport* report) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(labels_file, replay::kMaxRecordingBytes));
  ASSIGN_OR_RETURN(report->labels, replay::ReadLabels(text, labels_file));
  const std::vector<replay::Alarm> alarms = replay::AlarmsOf(report->result);
  std::vector<replay::Alarm> acting;
  for (std::size_t i = 0; i < alarms.size(); ++i) {
    if (report->result.findings[i].answer.acts) acting.push_back(alarms[i]);
  }
  ASSIGN_OR_RETURN(
      report->score,
      replay::ScoreAlarms(alarms, report->labels,
                          OptionsFor(report->trace, Advice::kRecord)));
  ASSIGN_OR_RETURN(
      report->told,
      replay::ScoreAlarms(alarms, report->labels,
                          OptionsFor(report->trace, Advice::kReport)));
  ASSIGN_OR_RETURN(
      report->acted,
      replay::ScoreAlarms(acting, report->labels,
                          OptionsFor(report->trace, Advice::kRecord)));
  return absl::OkStatus();
}

absl::StatusOr<LogFormat> FormatOf(const std::string& name) {
  if (const auto format = FindLogFormat(name)) return *format;
  std::vector<std::string> names;
  for (const LogFormat format : kLogFormats) {
    names.emplace_back(LogFormatName(format));
  }
  const std::string nearest = NearestWord(name, names);
  return absl::InvalidArgumentError(fmt::format(
      "--format '{}' is no log format{}; known are {}", name,
      nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest),
      fmt::join(names, ", ")));
}

// Prints what each line gave, and what of the others there was.
class Explainer {
 public:
  explicit Explainer(bool show_all) : show_all_(show_all) {}

  void Take(const replay::LineAccount& account) {
    using Fate = agent::LineFate;
    ++lines_;
    switch (account.fate) {
      case Fate::kMatched:
        ++matched_;
        break;
      case Fate::kOtherSource:
      case Fate::kNoStep:
        ++left_out_;
        break;
      case Fate::kUnmatched:
        ++unmatched_;
        if (!show_all_) return;
        break;
    }
    std::fputs(RenderLine(account).c_str(), stdout);
  }

  void PrintCounts() const {
    std::printf(
        "\n%lld lines: %lld matched, %lld left out, %lld without a match%s\n",
        lines_, matched_, left_out_, unmatched_,
        unmatched_ > 0 && !show_all_ ? " (--all shows them)" : "");
  }

 private:
  bool show_all_;
  long long lines_ = 0;
  long long matched_ = 0;
  long long left_out_ = 0;
  long long unmatched_ = 0;
};

absl::StatusOr<replay::Trace> ExplainLog(const std::string& bytes,
                                         const ParseOptions& options,
                                         const replay::LogDetection& detection,
                                         LogFormat format) {
  std::printf("format %s", std::string(LogFormatName(format)).c_str());
  for (const replay::LogFormatScore& score : detection.scores) {
    std::printf("; %s matched %lld of the first %lld lines",
                std::string(LogFormatName(score.format)).c_str(),
                static_cast<long long>(score.matched),
                static_cast<long long>(detection.lines));
  }
  std::printf("\n\n");
  Explainer explainer(options.all);
  auto trace = replay::ReadLogTrace(
      bytes, options.file, format,
      [&](const replay::LineAccount& account) { explainer.Take(account); });
  explainer.PrintCounts();
  return trace;
}

}  // namespace

absl::Status BacktestFile(Output output, const BacktestOptions& options) {
  BacktestReport report;
  report.file = options.steps_file;
  ASSIGN_OR_RETURN(const Policy policy, ReadPolicy(options.policy_file));
  ASSIGN_OR_RETURN(const std::string bytes,
                   ReadFile(options.steps_file, replay::kMaxRecordingBytes));
  ASSIGN_OR_RETURN(report.trace, replay::ReadTrace(bytes, options.steps_file));
  report.result = replay::RunBacktest(report.trace, policy);
  if (!options.labels_file.empty()) {
    RETURN_IF_ERROR(Judge(options.labels_file, &report));
  }
  if (output == Output::kJson) {
    PrintJson(BacktestToJson(report));
  } else {
    std::fputs(RenderBacktest(report).c_str(), stdout);
  }
  return absl::OkStatus();
}

absl::Status Parse(Output output, const ParseOptions& options) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   ReadFile(options.file, replay::kMaxRecordingBytes));
  replay::Recording recording;
  if (options.format.empty()) {
    ASSIGN_OR_RETURN(recording, replay::Recognise(bytes, options.file));
  }
  absl::StatusOr<replay::Trace> trace;
  if (recording.kind != replay::RecordingKind::kLog) {
    trace = replay::ReadTrace(bytes, options.file);
  } else {
    LogFormat format{};
    if (options.format.empty()) {
      format = recording.detection.scores[0].format;
    } else {
      ASSIGN_OR_RETURN(format, FormatOf(options.format));
    }
    trace = options.explain && output != Output::kJson
                ? ExplainLog(bytes, options, recording.detection, format)
                : replay::ReadLogTrace(bytes, options.file, format);
  }
  RETURN_IF_ERROR(trace.status());
  if (output == Output::kJson) {
    PrintJson(TraceToJson(options.file, *trace));
  } else if (options.explain) {
    std::fputs(RenderTrace(options.file, *trace).c_str(), stdout);
  } else {
    std::fputs(replay::WriteCsvTrace(*trace).c_str(), stdout);
    for (const std::string& note : trace->notes) {
      std::fprintf(stderr, "steadyrun: note: %s\n", Printable(note).c_str());
    }
  }
  return absl::OkStatus();
}

}  // namespace steadyrun::cli
