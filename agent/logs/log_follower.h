#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace steadyrun::agent {

struct LogFollowerOptions {
  std::size_t max_line_bytes = 8192;  // Longer lines are cut, and said so.
  // Token bucket: a flood is sampled, and what was left out is counted.
  double bytes_per_second = 4e6;
  std::size_t burst_bytes = 16u << 20;
  std::size_t max_bytes_per_poll = 1u << 20;
};

struct LogLine {
  std::string text;  // Without its end; raw bytes.
  bool is_cut = false;
  bool is_torn = false;  // Of Drain: has no end.
};

// Which file, and how far it was read in whole lines.
struct LogPosition {
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  friend bool operator==(const LogPosition&, const LogPosition&) = default;
};

// A line ends with a newline or a carriage return: a progress bar is redrawn
// for hours without a newline.
//
// Follows one log file by name: waits for it to appear, reads on where it was,
// goes over to the new file after a rotation (another inode) once the old one
// is read to its end, and starts again when it was truncated. Holes (bytes
// given back to a full disk) read as nothing. Never writes; not thread-safe.
class LogFollower {
 public:
  // `position`: where an earlier follower stood; ignored if the file is
  // another one by now.
  LogFollower(std::string path, LogFollowerOptions options,
              LogPosition position = {});
  ~LogFollower();
  LogFollower(LogFollower&& other) noexcept;
  LogFollower& operator=(LogFollower&&) = delete;

  // Complete lines since the last call, within the budget.
  std::vector<LogLine> Poll(MonoTime now);
  // The last line if it has no newline; for a process that has ended.
  std::vector<LogLine> Drain(MonoTime now);

  std::uint64_t skipped_bytes() const { return skipped_bytes_; }
  LogPosition position() const;

 private:
  bool OpenIfNeeded();
  void Refill(MonoTime now);
  void SkipFlood(std::uint64_t size);
  bool SkipHole();
  bool WasReplaced() const;
  std::size_t ReadChunk(std::size_t budget, std::vector<LogLine>* out);
  void TakeLines(std::string_view bytes, std::vector<LogLine>* out);
  void Close();

  std::string path_;
  LogFollowerOptions options_;
  int fd_ = -1;
  LogPosition start_;
  std::uint64_t inode_ = 0;
  std::uint64_t offset_ = 0;
  std::uint64_t line_begin_ = 0;  // Of the line that `partial_` holds.
  std::string partial_;
  bool partial_is_cut_ = false;
  bool is_in_skipped_line_ = false;  // Up to the next newline.
  double tokens_ = 0;
  std::optional<MonoTime> refilled_;
  std::uint64_t skipped_bytes_ = 0;
};

}  // namespace steadyrun::agent
