#pragma once

// The lines of one log put together: of which step each of them tells.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/logs/step_line.h"

namespace steadyrun::agent {

// What became of a line.
enum class LineFate {
  kMatched,
  kOtherSource,  // A step line that another rank printed too.
  kNoStep,       // Tells values, but of no step that was printed yet.
  kUnmatched,
};

struct ToldLine {
  LineFate fate = LineFate::kUnmatched;
  std::int64_t step = -1;            // That the values go to.
  const StepLine* parsed = nullptr;  // Not for kUnmatched; until next Take.
  const StepLine* from_before = nullptr;  // More values of this step, if any.
};

// Reads the lines of one format in their order. Where several ranks print the
// same steps, those of one are taken. Pure; memory does not grow with the log.
class StepLines {
 public:
  // `last`: the newest step that an earlier reader of this log was told of.
  explicit StepLines(LogFormat format, std::int64_t last = -1)
      : format_(format), last_(last) {}

  // `counted_after`: how many more lines without a step number are known to
  // follow before the progress bar's newest state. They share the steps
  // between them evenly.
  ToldLine Take(std::string_view line, std::int64_t counted_after = 0);

  LogFormat format() const { return format_; }
  std::int64_t last() const { return last_; }  // -1: none yet.
  // Newest step that a line or the progress bar tells of; -1: none yet.
  std::int64_t Reached() const;
  bool has_counted() const { return has_counted_; }
  std::int64_t foreign() const { return foreign_; }  // Lines of other ranks.
  const std::string& source() const { return source_; }

 private:
  void WatchBar(std::string_view line);
  std::int64_t CountedStep(std::int64_t counted_after) const;
  bool IsOfOtherSource(std::string_view line, std::int64_t step);

  LogFormat format_;
  std::int64_t last_;
  std::optional<StepLine> parsed_;
  std::optional<StepLine> pending_;  // For the next step.
  std::optional<StepLine> given_;    // What `from_before` points at.
  ProgressBar bar_;
  std::string source_;
  std::int64_t foreign_in_a_row_ = 0;
  std::int64_t foreign_ = 0;
  bool has_counted_ = false;
};

// Colours and other control sequences off; `line` itself if it has none,
// otherwise in `scratch`.
std::string_view WithoutColours(std::string_view line, std::string* scratch);

// Whether a step line of the format ends with a mark of its own. Of the
// others, a last line without its line break may end within a number.
bool EndsWithMark(LogFormat format);

}  // namespace steadyrun::agent
