#include "agent/supervisor/shim/log_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

namespace steadyrun::agent {
namespace {

// Enough for what a rank prints between two ticks; a flood raises it.
constexpr std::int64_t kMinAhead = 128 << 10;
constexpr std::int64_t kMaxAhead = 16 << 20;
// Kept of a long log: its begin (versions, arguments) and its newest part.
constexpr std::int64_t kHead = 64 << 10;
constexpr std::int64_t kTail = 64 << 20;
constexpr std::int64_t kTailOnFullDisk = 256 << 10;
constexpr std::int64_t kBlock = 4096;

}  // namespace

void LogKeeper::Open(const char* path) {
  fd_ = ::open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
               0640);
  if (fd_ >= 0) {
    struct stat info;
    if (::fstat(fd_, &info) == 0) last_size_ = info.st_size;
    reserved_end_ = last_size_;
    // Without any room at the start, the rank's first line would fail.
    if (!Reserve(last_size_, kMinAhead) && can_reserve_ &&
        !Reserve(last_size_, 4 * kBlock)) {
      ::close(fd_);
      fd_ = -1;
    }
  }
  if (fd_ < 0) {
    is_lost_ = true;
    fd_ = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  }
}

// False only if the disk is full.
bool LogKeeper::Reserve(std::int64_t size, std::int64_t ahead) {
  const std::int64_t end = size + ahead;
  if (!can_reserve_ || end <= reserved_end_) return true;
  const std::int64_t begin = reserved_end_ > size ? reserved_end_ : size;
  int result = 0;
  do {
    result = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, begin, end - begin);
  } while (result != 0 && errno == EINTR);
  if (result == 0) {
    reserved_end_ = end;
    return true;
  }
  if (errno == ENOSPC || errno == EDQUOT) return false;
  can_reserve_ = false;  // This file system cannot; nothing more to do.
  return true;
}

// Makes [kHead, size - keep) a hole.
void LogKeeper::GiveBack(std::int64_t size, std::int64_t keep) {
  const std::int64_t end = (size - keep) / kBlock * kBlock;
  const std::int64_t begin = given_back_ > kHead ? given_back_ : kHead;
  if (end <= begin) return;
  if (::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin,
                  end - begin) == 0) {
    given_back_ = end;
  }
}

// The disk is full and the reserve runs out.
void LogKeeper::MakeRoom(std::int64_t size) {
  GiveBack(size, kTailOnFullDisk);
  if (Reserve(size, kMinAhead) || Reserve(size, 4 * kBlock)) return;
  if (reserved_end_ - size > 4 * kBlock) return;  // Not yet in need.
  // The last resort: this log's own content for its future.
  if (::ftruncate(fd_, 0) != 0) return;
  last_size_ = reserved_end_ = given_back_ = 0;
  if (!Reserve(0, kMinAhead)) Reserve(0, 4 * kBlock);
}

void LogKeeper::Tick() {
  struct stat info;
  if (is_lost_ || ::fstat(fd_, &info) != 0) return;
  const std::int64_t size = info.st_size;
  if (size < last_size_) reserved_end_ = given_back_ = 0;  // Truncated.
  const std::int64_t growth = size - last_size_;
  last_size_ = size;
  std::int64_t ahead = growth > 0 ? 4 * growth : 0;
  if (ahead < kMinAhead) ahead = kMinAhead;
  if (ahead > kMaxAhead) ahead = kMaxAhead;
  // Reserve in strides, not at each line.
  if (reserved_end_ - size < ahead / 2 && !Reserve(size, ahead)) {
    MakeRoom(size);
  }
  GiveBack(size, kTail);
}

void LogKeeper::Close() {
  struct stat info;
  if (!is_lost_ && fd_ >= 0 && ::fstat(fd_, &info) == 0) {
    const std::int64_t end = (info.st_size + kBlock - 1) / kBlock * kBlock;
    if (reserved_end_ > end) {
      (void)!::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end,
                         reserved_end_ - end);
    }
    // Some file systems free blocks past the end only this way.
    (void)!::ftruncate(fd_, info.st_size);
  }
  ::close(fd_);
}

}  // namespace steadyrun::agent
