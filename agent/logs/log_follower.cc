#include "agent/logs/log_follower.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace steadyrun::agent {
namespace {

constexpr std::size_t kChunk = 64 * 1024;

}  // namespace

LogFollower::LogFollower(std::string path, LogFollowerOptions options,
                         LogPosition position)
    : path_(std::move(path)), options_(options), start_(position) {}

LogFollower::~LogFollower() { Close(); }

LogFollower::LogFollower(LogFollower&& other) noexcept
    : path_(std::move(other.path_)),
      options_(other.options_),
      fd_(std::exchange(other.fd_, -1)),
      start_(other.start_),
      inode_(other.inode_),
      offset_(other.offset_),
      line_begin_(other.line_begin_),
      partial_(std::move(other.partial_)),
      partial_is_cut_(other.partial_is_cut_),
      is_in_skipped_line_(other.is_in_skipped_line_),
      tokens_(other.tokens_),
      refilled_(other.refilled_),
      skipped_bytes_(other.skipped_bytes_) {}

void LogFollower::Close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

LogPosition LogFollower::position() const { return {inode_, line_begin_}; }

bool LogFollower::OpenIfNeeded() {
  if (fd_ >= 0) return true;
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat info {};
  if (fd_ < 0) return false;
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    Close();
    return false;
  }
  inode_ = info.st_ino;
  offset_ = 0;
  if (start_.inode == inode_ &&
      start_.offset <= static_cast<std::uint64_t>(info.st_size)) {
    offset_ = start_.offset;
  }
  start_ = {};
  line_begin_ = offset_;
  partial_.clear();
  partial_is_cut_ = is_in_skipped_line_ = false;
  return true;
}

void LogFollower::Refill(MonoTime now) {
  const double full = static_cast<double>(options_.burst_bytes);
  if (!refilled_) {
    tokens_ = full;
  } else {
    tokens_ += ToSeconds(now - *refilled_) * options_.bytes_per_second;
  }
  tokens_ = std::clamp(tokens_, 0.0, full);
  refilled_ = now;
}

// Comes the log faster than it may be read, the old part is left out.
void LogFollower::SkipFlood(std::uint64_t size) {
  const std::uint64_t backlog = size - offset_;
  if (backlog <= options_.burst_bytes || tokens_ >= 1) return;
  const std::uint64_t target = size - options_.max_line_bytes;
  skipped_bytes_ += target - offset_ + partial_.size();
  offset_ = line_begin_ = target;
  partial_.clear();
  partial_is_cut_ = false;
  is_in_skipped_line_ = true;
}

// Bytes that were given back to the disk: nothing was written there that is
// still to be had. False at the end of the file.
bool LogFollower::SkipHole() {
  const off_t data = ::lseek(fd_, static_cast<off_t>(offset_), SEEK_DATA);
  if (data < 0) return errno != ENXIO;  // No support: read the zeros.
  const auto next = static_cast<std::uint64_t>(data);
  if (next > offset_) {
    skipped_bytes_ += next - offset_ + partial_.size();
    offset_ = line_begin_ = next;
    partial_.clear();
    partial_is_cut_ = false;
    is_in_skipped_line_ = true;
  }
  return true;
}

bool LogFollower::WasReplaced() const {
  struct stat info {};
  return ::stat(path_.c_str(), &info) == 0 && info.st_ino != inode_;
}

void LogFollower::TakeLines(std::string_view bytes, std::vector<LogLine>* out) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find_first_of("\r\n");
    const std::string_view part = bytes.substr(0, end);
    const std::size_t taken =
        end == std::string_view::npos ? bytes.size() : end + 1;
    bytes.remove_prefix(taken);
    offset_ += taken;
    if (!is_in_skipped_line_) {
      const std::size_t room = options_.max_line_bytes - partial_.size();
      partial_.append(part.substr(0, room));
      partial_is_cut_ = partial_is_cut_ || part.size() > room;
    }
    if (end == std::string_view::npos) return;
    // Empty lines tell nothing; "\r\n" is one end.
    if (!is_in_skipped_line_ && !partial_.empty()) {
      out->push_back({.text = std::move(partial_), .is_cut = partial_is_cut_});
    }
    partial_.clear();
    partial_is_cut_ = is_in_skipped_line_ = false;
    line_begin_ = offset_;
  }
}

std::size_t LogFollower::ReadChunk(std::size_t budget,
                                   std::vector<LogLine>* out) {
  char buffer[kChunk];
  ssize_t n = 0;
  do {
    n = ::pread(fd_, buffer, std::min(budget, sizeof buffer),
                static_cast<off_t>(offset_));
  } while (n < 0 && errno == EINTR);
  if (n <= 0) return 0;
  TakeLines({buffer, static_cast<std::size_t>(n)}, out);
  return static_cast<std::size_t>(n);
}

std::vector<LogLine> LogFollower::Poll(MonoTime now) {
  std::vector<LogLine> lines;
  Refill(now);
  std::size_t budget = options_.max_bytes_per_poll;
  // Two files at most: the one that was rotated away and the new one.
  for (int i = 0; i < 2; ++i) {
    if (!OpenIfNeeded()) return lines;
    struct stat info {};
    if (::fstat(fd_, &info) != 0) return lines;
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size < offset_) {  // Truncated: begins again.
      offset_ = line_begin_ = 0;
      partial_.clear();
      partial_is_cut_ = is_in_skipped_line_ = false;
    }
    while (offset_ < size && budget > 0 && SkipHole()) {
      SkipFlood(size);
      const auto allowed = static_cast<std::size_t>(tokens_);
      const std::size_t read = ReadChunk(std::min(budget, allowed), &lines);
      if (read == 0) break;
      budget -= read;
      tokens_ -= static_cast<double>(read);
    }
    if (offset_ < size || !WasReplaced()) return lines;
    Close();
  }
  return lines;
}

std::vector<LogLine> LogFollower::Drain(MonoTime now) {
  // Nobody writes any more, so this ends; the flood rule bounds it.
  std::vector<LogLine> lines;
  for (std::uint64_t before = ~0ull; before != offset_;) {
    before = offset_;
    for (LogLine& line : Poll(now)) lines.push_back(std::move(line));
  }
  if (!partial_.empty()) {
    lines.push_back({.text = std::move(partial_),
                     .is_cut = partial_is_cut_,
                     .is_torn = true});
    partial_.clear();
    line_begin_ = offset_;
  }
  return lines;
}

}  // namespace steadyrun::agent
