#include "agent/logs/format_guess.h"

#include <algorithm>
#include <string>

#include "agent/logs/step_lines.h"

namespace steadyrun::agent {
namespace {

struct Need {
  std::int64_t lines = 1;
  bool with_loss = false;
};

Need NeedOf(LogFormat format) {
  switch (format) {
    case LogFormat::kMegatron:
    case LogFormat::kMindFormers:
    case LogFormat::kMindSpeed:
    case LogFormat::kVerl:
    case LogFormat::kOpenRlhf:
    case LogFormat::kMlPerf:
      return {1, false};
    case LogFormat::kDeepSpeed:
      return {3, false};
    case LogFormat::kOlmo:  // The header has no values.
      return {2, false};
    case LogFormat::kHuggingFace:
    case LogFormat::kNanoGpt:
    case LogFormat::kLlmC:
    case LogFormat::kJsonLines:
      return {2, true};
  }
  return {2, true};
}

bool HasLoss(const StepLine& line) {
  return std::any_of(line.values.begin(), line.values.end(),
                     [](const auto& value) { return value.first == "loss"; });
}

}  // namespace

bool FormatGuess::Take(std::string_view line) {
  ++lines_;
  std::string scratch;
  line = WithoutColours(line, &scratch);
  bool is_match = false;
  for (std::size_t i = 0; i < kLogFormats.size(); ++i) {
    const auto parsed = ParseStepLine(kLogFormats[i], line);
    if (!parsed || (parsed->step_of != StepOf::kLine &&
                    parsed->step_of != StepOf::kCounted)) {
      continue;
    }
    is_match = true;
    ++matched_[i];
    const Need need = NeedOf(kLogFormats[i]);
    telling_[i] += need.with_loss && !HasLoss(*parsed) ? 0 : 1;
    const bool is_open = !decided_ || (*decided_ == LogFormat::kDeepSpeed &&
                                       kLogFormats[i] != *decided_);
    if (is_open && telling_[i] >= need.lines) decided_ = kLogFormats[i];
  }
  return is_match;
}

}  // namespace steadyrun::agent
