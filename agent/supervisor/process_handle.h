#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "agent/collectors/process_stat.h"

namespace steadyrun::agent {

// One process, named for good: by a pidfd, which the kernel never lets mean
// another process, opened and then compared with the start time that a record
// remembers. So a reused pid is never signalled.
class ProcessHandle {
 public:
  ProcessHandle() = default;
  // Absent if no process has both this pid and this start time.
  static std::optional<ProcessHandle> Open(const ProcessTable& table,
                                           std::int32_t pid,
                                           std::uint64_t start_ticks);
  // Of a child that was not reaped yet; its pid cannot be another's.
  static std::optional<ProcessHandle> OpenChild(std::int32_t pid);

  ProcessHandle(ProcessHandle&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)) {}
  ProcessHandle& operator=(ProcessHandle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~ProcessHandle();

  bool IsOpen() const { return fd_ >= 0; }
  int fd() const { return fd_; }  // Readable when the process has ended.
  bool HasEnded() const;
  void Close();

  // False if the process has ended or may not be signalled.
  bool Signal(int signal) const;
  // With a value, as sigqueue.
  bool SignalWithValue(int signal, std::uint64_t value) const;

 private:
  explicit ProcessHandle(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace steadyrun::agent
