#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/core/event.h"
#include "agent/logs/format_guess.h"
#include "agent/logs/line_values.h"
#include "agent/logs/log_follower.h"
#include "agent/logs/step_lines.h"
#include "agent/logs/step_source.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun::agent {

struct LogStepOptions {
  RunId run;
  AttemptId attempt;
  Rank rank;
  std::string format;  // As RunSpec.log_format: "auto", "verl", ...
  std::string stdout_path;
  // Trainers draw their progress bars here, and some log here. May be empty.
  std::string stderr_path;
  std::string cursor_path;
  // What the files hold already is of an earlier attempt and is not read.
  bool begins_at_end = false;
  LogFollowerOptions follower{.max_line_bytes = 64 << 10};
};

// The route without a change of code: follows what a rank prints and turns the
// lines of its steps into StepsRead. Megatron prints on the last rank only, so
// the other ranks of the run stay silent, which is no fault. What it says of
// the rank's progress goes to RecorderSet::SetLogStep. Memory does not grow
// with the log. Not thread-safe.
class LogStepReader : public StepSource {
 public:
  // With "auto", so many lines of a rank are looked at for a step; a rank that
  // prints none among them is not followed any more.
  static constexpr std::int64_t kGuessLines = 100'000;

  // Reads on where an earlier reader wrote its cursor.
  explicit LogStepReader(LogStepOptions options);

  std::vector<Event> Poll(Now now) override;
  // With the last, unfinished line.
  std::vector<Event> Drain(Now now) override;
  Step last_step() const override;  // Of a line or a progress bar.
  std::vector<std::string> TakeNotes() override;
  // Not while lines are held: they would be lost with this process. Until the
  // format is known a successor begins anew, as nothing was told yet.
  std::string Cursor() const override;
  void WriteCursor(const std::string& cursor) override;

  // Not read because the log came faster than the budget.
  std::uint64_t skipped_bytes() const;

 private:
  struct Line {
    std::string text;
    bool is_torn = false;
    Now read;
  };
  struct Row {
    std::int64_t step = 0;
    NamedValues values;
    Now read;
  };
  struct Stand {  // What a cursor says.
    std::string text;
    std::optional<LogFormat> format;
    bool has_given_up = false;
    std::int64_t last = -1;
    std::array<LogPosition, 2> positions;
  };

  void TakeRead(std::vector<LogLine> lines, Now now);
  void Guess(const Line& line);
  void Decide(LogFormat format);
  void TakeLine(Line line);
  void TakeHeld(std::vector<Line> held);
  void TakeTold(const ToldLine& told, Now read);
  void CloseRow();
  void AddStepTime();
  std::vector<Event> Finish(Now now, bool is_end);
  static Stand LoadCursor(const LogStepOptions& options);
  LogStepReader(LogStepOptions options, const Stand& stand);
  void Note(std::string_view text);

  const LogStepOptions options_;
  std::string committed_;  // The cursor file's text.
  std::array<LogFollower, 2> followers_;
  FormatGuess guess_;
  std::optional<StepLines> lines_;  // Once the format is known.
  // Of "auto", until the format is known: those that may print a step.
  std::vector<Line> candidates_;
  // Without a step number, until the progress bar has been read.
  std::vector<Line> held_;
  std::optional<Row> row_;  // Being filled by the lines that come.
  NamedValues late_;  // Told after their step had left: go with the next one.
  std::vector<Row> closed_;    // Of this poll.
  std::optional<Row> before_;  // The only one of its poll; without values.
  std::vector<std::string> notes_;
  bool has_given_up_ = false;
};

}  // namespace steadyrun::agent
