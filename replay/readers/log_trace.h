#pragma once

// Training logs as traces: which format it is, and its lines put together.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "agent/logs/step_lines.h"
#include "replay/trace.h"

namespace steadyrun::replay {

struct LogFormatScore {
  LogFormat format;
  std::int64_t matched = 0;  // Lines that print a step of this format.
};
struct LogDetection {
  std::vector<LogFormatScore> scores;  // Best first; only those that matched.
  std::int64_t lines = 0;              // Looked at.
};
// Tries every format on the first lines, until one has matched 200 of them: a
// preamble may be long. The most matches win.
LogDetection DetectLogFormat(std::string_view text);

// What became of one line, for `steadyrun parse --explain`.
struct LineAccount {
  std::size_t line = 0;  // From 1.
  std::string_view text;
  agent::LineFate fate = agent::LineFate::kUnmatched;
  std::int64_t step = -1;                   // That the values go to.
  const agent::StepLine* parsed = nullptr;  // Not for kUnmatched.
};
using LineObserver = absl::FunctionRef<void(const LineAccount&)>;

// A trace of the lines that `format` knows; each run of steps is an attempt.
// Where several ranks print the same steps, those of one are taken.
// INVALID_ARGUMENT: no line of the format.
absl::StatusOr<Trace> ReadLogTrace(std::string_view text,
                                   const std::string& file, LogFormat format);
absl::StatusOr<Trace> ReadLogTrace(std::string_view text,
                                   const std::string& file, LogFormat format,
                                   LineObserver observer);

}  // namespace steadyrun::replay
