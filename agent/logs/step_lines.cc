#include "agent/logs/step_lines.h"

#include <algorithm>

#include "agent/logs/clean_text.h"

namespace steadyrun::agent {

std::string_view WithoutColours(std::string_view line, std::string* scratch) {
  if (line.find('\x1b') == std::string_view::npos) return line;
  *scratch = CleanLine(line, line.size() * 3);  // U+FFFD takes three bytes.
  return *scratch;
}

bool EndsWithMark(LogFormat format) {
  switch (format) {
    case LogFormat::kMegatron:
    case LogFormat::kMindFormers:
    case LogFormat::kOpenRlhf:
    case LogFormat::kHuggingFace:
    case LogFormat::kMlPerf:
    case LogFormat::kJsonLines:
      return true;
    case LogFormat::kMindSpeed:
    case LogFormat::kVerl:
    case LogFormat::kDeepSpeed:
    case LogFormat::kOlmo:
    case LogFormat::kNanoGpt:
    case LogFormat::kLlmC:
      return false;
  }
  return false;
}

// Trainers draw bars for other loops too; the longest is the training's.
void StepLines::WatchBar(std::string_view line) {
  if (format_ != LogFormat::kHuggingFace) return;
  const auto bar = FindProgressBar(line);
  if (bar && bar->total >= bar_.total) bar_ = *bar;
}

std::int64_t StepLines::CountedStep(std::int64_t counted_after) const {
  const std::int64_t last = std::max<std::int64_t>(last_, 0);
  if (bar_.total <= 0 || bar_.done <= last) return last + 1;
  return last +
         std::max<std::int64_t>(1, (bar_.done - last) / (counted_after + 1));
}

std::int64_t StepLines::Reached() const {
  return bar_.total > 0 && bar_.done > 0 ? std::max(last_, bar_.done) : last_;
}

// Several ranks may print the same lines, interleaved. The first one is
// followed; another takes over when it prints steps ahead, or when the first
// has fallen silent.
bool StepLines::IsOfOtherSource(std::string_view line, std::int64_t step) {
  constexpr std::int64_t kSilent = 16;
  const std::string_view source = LineSource(line);
  if (last_ < 0 || source == source_ || step > last_ ||
      ++foreign_in_a_row_ > kSilent) {
    foreign_in_a_row_ = 0;
    source_ = source;
    return false;
  }
  ++foreign_;
  return true;
}

ToldLine StepLines::Take(std::string_view line, std::int64_t counted_after) {
  ToldLine told;
  std::string scratch;
  line = WithoutColours(line, &scratch);
  WatchBar(line);
  parsed_ = ParseStepLine(format_, line);
  if (!parsed_) return told;
  told.parsed = &*parsed_;
  told.fate = LineFate::kMatched;
  std::int64_t step = parsed_->step;
  switch (parsed_->step_of) {
    case StepOf::kLine:
      if (IsOfOtherSource(line, step)) {
        told.fate = LineFate::kOtherSource;
        return told;
      }
      break;
    case StepOf::kCounted:
      has_counted_ = true;
      step = CountedStep(counted_after);
      break;
    case StepOf::kPrevious:
      step = last_;
      break;
    case StepOf::kNext:
      pending_ = *parsed_;  // A later one corrects it.
      return told;
  }
  if (step < 0) {
    told.fate = LineFate::kNoStep;
    return told;
  }
  told.step = last_ = step;
  if (parsed_->step_of != StepOf::kPrevious && pending_) {
    given_.swap(pending_);
    pending_.reset();
    told.from_before = &*given_;
  }
  return told;
}

}  // namespace steadyrun::agent
