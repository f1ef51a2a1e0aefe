#include "agent/logs/scalar_dir.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <utility>

#include "agent/logs/event_record.h"
#include "agent/logs/step_line.h"
#include "base/file.h"
#include "base/number_text.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTold = 64;
constexpr int kMaxDepth = 3;
constexpr double kMaxUnixSeconds = 2.5e11;  // Year 9892.
constexpr std::size_t kMaxCursorBytes = 64 << 10;

// DeepSpeed names a column by the last part of the event's name.
std::string ColumnName(std::string_view header) {
  if (header == "train_loss") return "loss";
  if (header == "lr") return "learning_rate";
  return std::string(header);
}

}  // namespace

ScalarDirReader::ScalarDirReader(ScalarDirOptions options)
    : options_(std::move(options)), is_first_scan_new_(options_.is_new) {
  LoadCursor();
  Scan();
  // So that a successor does not take what is old for new.
  if (options_.is_new && committed_.empty()) WriteCursor(Cursor());
}

// "scalars LAST_STEP", then "INODE OFFSET" a file.
void ScalarDirReader::LoadCursor() {
  const auto text = steadyrun::ReadFile(options_.cursor_path, kMaxCursorBytes);
  if (!text.ok()) return;
  std::istringstream words(*text);
  std::string head;
  std::int64_t last = -1;
  if (!(words >> head >> last) || head != "scalars") return;
  committed_ = *text;
  is_first_scan_new_ = false;
  last_ = Step{last};
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  while (words >> inode >> offset) begin_at_[inode] = offset;
}

std::string ScalarDirReader::Cursor() const {
  if (!pending_.empty()) return "";
  std::string text = fmt::format("scalars {}\n", last_.value);
  for (const auto& [inode, file] : files_) {
    text += fmt::format("{} {}\n", inode, file.offset);
  }
  return text;
}

void ScalarDirReader::WriteCursor(const std::string& cursor) {
  if (cursor.empty() || cursor == committed_) return;
  if (WriteFileAtomically(options_.cursor_path, cursor, 0600).ok()) {
    committed_ = cursor;
  }
}

void ScalarDirReader::Note(std::string_view text) {
  notes_.push_back(fmt::format("run {} attempt {} rank {}: {}", options_.run,
                               options_.attempt.value, options_.rank.value,
                               text));
}

std::vector<std::string> ScalarDirReader::TakeNotes() {
  return std::exchange(notes_, {});
}

bool ScalarDirReader::IsOurs(std::string_view name) const {
  return options_.kind == ScalarDirOptions::Kind::kTensorBoard
             ? name.find("tfevents") != std::string_view::npos
             : name.ends_with(".csv");
}

void ScalarDirReader::Scan() {
  std::error_code error;
  std::size_t entries = 0;
  auto it = fs::recursive_directory_iterator(
      options_.directory, fs::directory_options::skip_permission_denied, error);
  for (; !error && it != fs::recursive_directory_iterator();
       it.increment(error)) {
    if (it.depth() >= kMaxDepth) it.disable_recursion_pending();
    if (++entries > kMaxEntries || files_.size() >= kMaxFiles) break;
    if (!IsOurs(it->path().filename().string())) continue;
    struct stat info {};
    if (::stat(it->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
      continue;
    }
    const auto [known, is_new] = files_.try_emplace(info.st_ino);
    if (!is_new) continue;
    File& file = known->second;
    file.path = it->path().string();
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (const auto begin = begin_at_.find(info.st_ino);
        begin != begin_at_.end()) {
      file.offset = std::min(begin->second, size);
    } else if (is_first_scan_new_) {
      file.offset = size;
    }
    Note(fmt::format("its scalars are read from '{}'", file.path));
  }
  is_first_scan_new_ = false;
}

std::size_t ScalarDirReader::ReadFile(File* file, Now now) {
  if (file->is_lost) return 0;
  struct stat info {};
  if (::stat(file->path.c_str(), &info) != 0) return 0;
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size < file->offset) file->offset = 0;  // Written anew.
  if (size == file->offset) return 0;
  const int fd =
      ::open(file->path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return 0;
  std::string bytes(kChunk, '\0');
  const ssize_t got =
      ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(file->offset));
  if (file->column.empty() && file->offset > 0 &&
      options_.kind == ScalarDirOptions::Kind::kDeepSpeedCsv) {
    char head[256];
    const ssize_t n = ::pread(fd, head, sizeof head, 0);
    const std::string_view text(head, n > 0 ? static_cast<std::size_t>(n) : 0);
    TakeCsvLine(text.substr(0, text.find('\n')), file, now);
  }
  ::close(fd);
  if (got <= 0) return 0;
  bytes.resize(static_cast<std::size_t>(got));
  const std::size_t taken =
      options_.kind == ScalarDirOptions::Kind::kTensorBoard
          ? TakeRecords(bytes, file, now)
          : TakeCsv(bytes, file, now);
  file->offset += taken;
  return taken;
}

// How many of the bytes need not be read again.
std::size_t ScalarDirReader::TakeRecords(std::string_view bytes, File* file,
                                         Now now) {
  RecordReader records(bytes);
  std::string_view data;
  for (;;) {
    const std::size_t before = bytes.size() - records.BytesLeft();
    switch (records.Read(&data)) {
      case RecordReader::Next::kRecord:
        if (const auto event = ParseEvent(data); event && event->step >= 0) {
          StepLine line;
          line.values = event->values;
          AddStandardNames(&line);
          if (!line.values.empty()) {
            Put(event->step, line.values, event->wall_time, now);
          }
        }
        break;
      case RecordReader::Next::kDamaged:
        break;
      case RecordReader::Next::kTorn: {
        if (before > 0 || bytes.size() < kChunk) return before;
        std::uint64_t size = 0;  // An image, say: passed over.
        std::memcpy(&size, bytes.data(), sizeof size);
        return size + 16;
      }
      case RecordReader::Next::kLost:
        file->is_lost = true;
        Note(fmt::format("'{}' is damaged at byte {} and not read any more",
                         file->path, file->offset + before));
        return before;
      case RecordReader::Next::kEnd:
        return bytes.size();
    }
  }
}

std::size_t ScalarDirReader::TakeCsv(std::string_view bytes, File* file,
                                     Now now) {
  const std::size_t end = bytes.rfind('\n');
  if (end == std::string_view::npos) {
    return bytes.size() < kChunk ? 0 : bytes.size();  // No line at all.
  }
  std::string_view lines = bytes.substr(0, end + 1);
  while (!lines.empty()) {
    const std::size_t one = lines.find('\n');
    TakeCsvLine(lines.substr(0, one), file, now);
    lines.remove_prefix(one + 1);
  }
  return end + 1;
}

// A new start of the trainer writes the header again.
void ScalarDirReader::TakeCsvLine(std::string_view line, File* file, Now now) {
  line = Trim(line);
  const std::size_t comma = line.find(',');
  if (comma == std::string_view::npos) return;
  const std::string_view first = Trim(line.substr(0, comma));
  const std::string_view second = Trim(line.substr(comma + 1));
  if (first == "step") {
    file->column = ColumnName(second);
    return;
  }
  const auto step = ParseNumber(first);
  const auto value = ParseNumber(second);
  if (!step || !value || file->column.empty() || !(*step >= 0) ||
      *step > 1e12) {
    return;
  }
  Put(static_cast<std::int64_t>(*step), {{file->column, *value}}, 0, now);
}

void ScalarDirReader::Put(std::int64_t step, const NamedValues& values,
                          double unix_seconds, Now now) {
  if (step > 1'000'000'000'000 ||
      std::ranges::find(told_, step) != told_.end()) {
    return;
  }
  PendingStep& pending = pending_[step];
  MergeValues(values, &pending.values);
  pending.heard = now;
  if (unix_seconds > 0 && unix_seconds < kMaxUnixSeconds) {
    pending.unix_seconds = std::max(pending.unix_seconds, unix_seconds);
  }
}

Event ScalarDirReader::EventOf(std::int64_t step, const PendingStep& pending) {
  NamedValues values = pending.values;
  const bool has_time = std::ranges::any_of(
      values, [](const auto& value) { return value.first == "step_time"; });
  const double seconds = pending.unix_seconds - before_seconds_;
  if (!has_time && before_seconds_ > 0 && seconds > 0 && step > before_step_) {
    values.emplace_back("step_time",
                        seconds / static_cast<double>(step - before_step_));
  }
  before_step_ = step;
  before_seconds_ = pending.unix_seconds;
  StepBlock block;
  block.run = options_.run;
  block.attempt = options_.attempt;
  block.step = Step{step};
  block.ranks = {static_cast<std::uint32_t>(options_.rank.value)};
  block.end_unix_ms =
      pending.unix_seconds > 0
          ? static_cast<std::int64_t>(pending.unix_seconds * 1e3)
          : ToUnixMillis(pending.heard.wall);
  FillBlock(values, &block);
  return StepsRead{std::move(block)};
}

std::vector<Event> ScalarDirReader::Emit(Now now, bool is_end) {
  std::vector<Event> events;
  while (!pending_.empty()) {
    const auto& [step, pending] = *pending_.begin();
    const bool is_quiet = now.mono - pending.heard.mono >= kQuiet;
    if (!is_end && !is_quiet && pending_.size() <= kMaxPending) break;
    events.push_back(EventOf(step, pending));
    last_ = std::max(last_, Step{step});
    told_.push_back(step);
    if (told_.size() > kMaxTold) told_.pop_front();
    pending_.erase(pending_.begin());
  }
  return events;
}

std::vector<Event> ScalarDirReader::Poll(Now now) {
  if (!has_scanned_ || now.mono - scanned_ >= kScanInterval) {
    Scan();
    scanned_ = now.mono;
    has_scanned_ = true;
  }
  std::size_t read = 0;
  for (auto& [inode, file] : files_) {
    if (read >= kMaxBytes) break;
    read += ReadFile(&file, now);
  }
  return Emit(now, /*is_end=*/false);
}

std::vector<Event> ScalarDirReader::Drain(Now now) {
  Scan();
  // What is left of files that nobody writes any more; a bound all the same.
  constexpr int kMostTurns = 256;
  bool has_read = true;
  for (int turn = 0; has_read && turn < kMostTurns; ++turn) {
    has_read = false;
    for (auto& [inode, file] : files_) has_read |= ReadFile(&file, now) > 0;
  }
  return Emit(now, /*is_end=*/true);
}

}  // namespace steadyrun::agent
