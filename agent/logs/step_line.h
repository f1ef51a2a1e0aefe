#pragma once

// What one line of a training log says of a step, for each format that is
// known. No state: StepLines puts lines together (step_lines.h).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/messages/log_format.h"

namespace steadyrun::agent {

// Which step the values of a line belong to.
enum class StepOf {
  kLine,      // `step` says it.
  kCounted,   // The format prints none: the one after the last.
  kPrevious,  // The step that was printed last (an evaluation, OLMo's metrics).
  kNext,      // The step that is printed next (an overflow).
};

struct StepLine {
  StepOf step_of = StepOf::kLine;
  std::int64_t step = -1;
  // By name; loss, grad_norm, step_time (s), learning_rate, loss_scale and
  // tokens under these names, everything else as printed.
  std::vector<std::pair<std::string, double>> values;
};

// Absent if the line tells nothing of a step in this format. Linear in the
// line's length; any bytes will do.
std::optional<StepLine> ParseStepLine(LogFormat format, std::string_view line);

// What a progress bar without a name shows last: 2588 of 10485 in
// " 25%|## | 2588/10485 [3:17:04<".
struct ProgressBar {
  std::int64_t done = 0;
  std::int64_t total = 0;
};
std::optional<ProgressBar> FindProgressBar(std::string_view line);

// Who printed the line: "3" of "3: ", "[default3]" of "[default3]:", "[rank5]";
// empty without such a prefix.
std::string_view LineSource(std::string_view line);

// Adds the standard name to values that a trainer prints under its own
// ("actor/grad_norm" is also grad_norm), unless the line has it.
void AddStandardNames(StepLine* line);

// --- One parser a format; see LogFormat.
std::optional<StepLine> ParseMindFormersLine(std::string_view line);
std::optional<StepLine> ParseMindSpeedLine(std::string_view line);
std::optional<StepLine> ParseVerlLine(std::string_view line);
std::optional<StepLine> ParseOpenRlhfLine(std::string_view line);
std::optional<StepLine> ParseDeepSpeedLine(std::string_view line);
std::optional<StepLine> ParseHuggingFaceLine(std::string_view line);
std::optional<StepLine> ParseOlmoLine(std::string_view line);
std::optional<StepLine> ParseMlPerfLine(std::string_view line);
std::optional<StepLine> ParseNanoGptLine(std::string_view line);
std::optional<StepLine> ParseLlmCLine(std::string_view line);
std::optional<StepLine> ParseJsonLine(std::string_view line);

}  // namespace steadyrun::agent
