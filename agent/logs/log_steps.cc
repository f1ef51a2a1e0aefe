#include "agent/logs/log_steps.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;

// More are held by a log that looks like several formats and is none.
constexpr std::size_t kMaxCandidates = 16;
// OLMo prints a metric a line. What has not come by then belongs to the next.
constexpr Duration kQuiet = milliseconds(200);
// Shorter ones would be mostly the time between two looks at the log.
constexpr double kLeastTakenSeconds = 1;
constexpr std::string_view kNone = "none";  // Of a reader that gave up.

LogPosition EndOf(const std::string& path) {
  struct stat info {};
  if (path.empty() || ::stat(path.c_str(), &info) != 0) return {};
  return {info.st_ino, static_cast<std::uint64_t>(info.st_size)};
}

// "FORMAT LAST_STEP INODE OFFSET INODE OFFSET", of stdout and stderr.
std::string TextOf(std::string_view format, std::int64_t last,
                   const std::array<LogPosition, 2>& at) {
  return fmt::format("{} {} {} {} {} {}\n", format, last, at[0].inode,
                     at[0].offset, at[1].inode, at[1].offset);
}

}  // namespace

LogStepReader::LogStepReader(LogStepOptions options)
    : LogStepReader(options, LoadCursor(options)) {}

LogStepReader::LogStepReader(LogStepOptions options, const Stand& stand)
    : options_(std::move(options)),
      committed_(stand.text),
      followers_{LogFollower(options_.stdout_path, options_.follower,
                             stand.positions[0]),
                 LogFollower(options_.stderr_path, options_.follower,
                             stand.positions[1])},
      has_given_up_(stand.has_given_up) {
  const auto format =
      stand.format ? stand.format : FindLogFormat(options_.format);
  if (format) lines_.emplace(*format, stand.last);
  // So that a successor does not take what is old for new.
  if (options_.begins_at_end && committed_.empty()) {
    WriteCursor(TextOf(kAutoLogFormat, -1, stand.positions));
  }
}

LogStepReader::Stand LogStepReader::LoadCursor(const LogStepOptions& options) {
  Stand stand;
  const auto text = ReadFile(options.cursor_path, 256);
  char format[32] = "";
  long long last = -1;
  unsigned long long at[4] = {};
  if (text.ok() &&
      std::sscanf(text->c_str(), "%31s %lld %llu %llu %llu %llu", format, &last,
                  &at[0], &at[1], &at[2], &at[3]) == 6) {
    stand.text = *text;
    stand.format = FindLogFormat(format);
    stand.has_given_up = format == kNone;
    stand.last = last;
    stand.positions = {{{at[0], at[1]}, {at[2], at[3]}}};
  } else if (options.begins_at_end) {
    stand.positions = {EndOf(options.stdout_path), EndOf(options.stderr_path)};
  }
  return stand;
}

std::string LogStepReader::Cursor() const {
  if (!held_.empty() || row_ || (!lines_ && !has_given_up_)) return "";
  return TextOf(lines_ ? LogFormatName(lines_->format()) : kNone,
                lines_ ? lines_->last() : -1,
                {followers_[0].position(), followers_[1].position()});
}

void LogStepReader::WriteCursor(const std::string& cursor) {
  if (cursor.empty() || cursor == committed_) return;
  // A full disk costs a second reading after a restart, nothing else.
  if (WriteFileAtomically(options_.cursor_path, cursor, 0600).ok()) {
    committed_ = cursor;
  }
}

void LogStepReader::Note(std::string_view text) {
  notes_.push_back(fmt::format("run {} attempt {} rank {}: {}", options_.run,
                               options_.attempt.value, options_.rank.value,
                               text));
}

std::vector<std::string> LogStepReader::TakeNotes() {
  return std::exchange(notes_, {});
}

Step LogStepReader::last_step() const {
  return lines_ ? Step{lines_->Reached()} : kNoStep;
}

std::uint64_t LogStepReader::skipped_bytes() const {
  return followers_[0].skipped_bytes() + followers_[1].skipped_bytes();
}

std::vector<Event> LogStepReader::Poll(Now now) {
  if (has_given_up_) return {};
  std::vector<Line> held = std::exchange(held_, {});
  // The bar of the lines that were held comes with stderr; a line read now
  // waits for its own.
  std::vector<LogLine> out = followers_[0].Poll(now.mono);
  TakeRead(followers_[1].Poll(now.mono), now);
  if (lines_) TakeHeld(std::move(held));
  TakeRead(std::move(out), now);
  return Finish(now, /*is_end=*/false);
}

std::vector<Event> LogStepReader::Drain(Now now) {
  if (has_given_up_) return {};
  std::vector<Event> events = Poll(now);
  TakeRead(followers_[1].Drain(now.mono), now);
  TakeRead(followers_[0].Drain(now.mono), now);
  if (lines_) TakeHeld(std::exchange(held_, {}));
  for (Event& event : Finish(now, /*is_end=*/true)) {
    events.push_back(std::move(event));
  }
  return events;
}

void LogStepReader::TakeRead(std::vector<LogLine> lines, Now now) {
  for (LogLine& line : lines) {
    // Longer than any step line; its end is missing.
    if (line.is_cut || has_given_up_) continue;
    Line whole{std::move(line.text), line.is_torn, now};
    const bool is_guessing =
        options_.format == kAutoLogFormat &&
        (!lines_ || lines_->format() == LogFormat::kDeepSpeed);
    if (is_guessing) Guess(whole);
    if (lines_) TakeLine(std::move(whole));
  }
}

void LogStepReader::Guess(const Line& line) {
  const bool may_be_step = guess_.Take(line.text);
  const auto decided = guess_.Decided();
  if (decided && (!lines_ || *decided != lines_->format())) {
    Decide(*decided);
  } else if (!lines_ && may_be_step) {
    if (candidates_.size() == kMaxCandidates) {
      candidates_.erase(candidates_.begin());
    }
    candidates_.push_back(line);
  } else if (!lines_ && guess_.lines() >= kGuessLines) {
    has_given_up_ = true;
    candidates_.clear();
    Note(fmt::format(
        "none of its first {} lines prints a step in a known format; its "
        "output is not followed any more",
        guess_.lines()));
  }
}

void LogStepReader::Decide(LogFormat format) {
  Note(fmt::format("its output is read as {} (line {})", LogFormatName(format),
                   guess_.lines()));
  lines_.emplace(format, lines_ ? lines_->last() : -1);
  for (Line& line : std::exchange(candidates_, {})) TakeLine(std::move(line));
}

void LogStepReader::TakeLine(Line line) {
  if (line.is_torn && !EndsWithMark(lines_->format())) return;
  if (lines_->format() != LogFormat::kHuggingFace) {
    TakeTold(lines_->Take(line.text), line.read);
    return;
  }
  // Its dict lines are counted by the bar, which is drawn on the other stream
  // right after them.
  std::string scratch;
  const auto parsed = ParseHuggingFaceLine(WithoutColours(line.text, &scratch));
  if (parsed && parsed->step_of == StepOf::kCounted) {
    held_.push_back(std::move(line));
  } else {
    TakeTold(lines_->Take(line.text), line.read);
  }
}

void LogStepReader::TakeHeld(std::vector<Line> held) {
  auto left = static_cast<std::int64_t>(held.size());
  for (const Line& line : held) {
    TakeTold(lines_->Take(line.text, --left), line.read);
  }
}

void LogStepReader::TakeTold(const ToldLine& told, Now read) {
  if (told.step < 0) return;
  const bool is_more = told.parsed->step_of == StepOf::kPrevious;
  if (is_more) {
    MergeValues(told.parsed->values, row_ ? &row_->values : &late_);
    if (row_) row_->read = read;
    return;
  }
  CloseRow();
  row_ =
      Row{.step = told.step, .values = std::exchange(late_, {}), .read = read};
  if (told.from_before != nullptr) {
    MergeValues(told.from_before->values, &row_->values);
  }
  MergeValues(told.parsed->values, &row_->values);
  if (lines_->format() != LogFormat::kOlmo) CloseRow();
}

void LogStepReader::CloseRow() {
  if (!row_) return;
  closed_.push_back(*std::move(row_));
  row_.reset();
}

// The time between two steps, where the format prints none and each was read
// at a look of its own, so that it is the training's time and not the log's.
void LogStepReader::AddStepTime() {
  if (closed_.empty()) return;
  Row& row = closed_.front();
  const bool is_alone = closed_.size() == 1;
  if (is_alone && before_ && row.step > before_->step) {
    const double seconds = ToSeconds(row.read.mono - before_->read.mono);
    const double steps = static_cast<double>(row.step - before_->step);
    const bool has_own = std::ranges::any_of(row.values, [](const auto& value) {
      return value.first == "step_time";
    });
    if (!has_own && seconds >= kLeastTakenSeconds) {
      row.values.emplace_back("step_time", seconds / steps);
    }
  }
  before_.reset();
  if (is_alone) before_ = Row{.step = row.step, .values = {}, .read = row.read};
}

std::vector<Event> LogStepReader::Finish(Now now, bool is_end) {
  if (row_ && (is_end || now.mono - row_->read.mono >= kQuiet)) CloseRow();
  AddStepTime();
  std::vector<Event> events;
  for (const Row& row : std::exchange(closed_, {})) {
    StepBlock block;
    block.run = options_.run;
    block.attempt = options_.attempt;
    block.step = Step{row.step};
    block.ranks = {static_cast<std::uint32_t>(options_.rank.value)};
    block.end_unix_ms = ToUnixMillis(row.read.wall);
    FillBlock(row.values, &block);
    events.push_back(StepsRead{std::move(block)});
  }
  return events;
}

}  // namespace steadyrun::agent
