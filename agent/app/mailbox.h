#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"

namespace steadyrun::agent {

// Answers of a worker thread to the loop, with a file descriptor that is
// readable when there are some. Bounded by the requests that may be open.
// Thread-safe.
template <typename T>
class Mailbox {
 public:
  Mailbox() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    SR_CHECK(fd_ >= 0);
  }
  ~Mailbox() { ::close(fd_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void Push(T item) {
    {
      absl::MutexLock lock(&mutex_);
      items_.push_back(std::move(item));
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(fd_, &one, sizeof one);
  }

  std::vector<T> Take() {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = ::read(fd_, &count, sizeof count);
    absl::MutexLock lock(&mutex_);
    return std::exchange(items_, {});
  }

  int fd() const { return fd_; }

 private:
  const int fd_;
  absl::Mutex mutex_;
  std::vector<T> items_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun::agent
