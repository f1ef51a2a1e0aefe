#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace steadyrun {

// Many producers, one consumer, fixed capacity. A full queue refuses and
// counts: the producer decides what backpressure means. Thread-safe.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // False if the queue is full or closed; the refusal is counted.
  [[nodiscard]] bool TryPush(T item) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= capacity_) {
      ++refused_;
      return false;
    }
    items_.push_back(std::move(item));
    return true;
  }

  // Waits up to `timeout` for the first item, then takes up to `max` of them.
  // Empty on timeout or when closed and drained. After a batch that was not
  // empty it first waits `linger` for company: a steady trickle then costs one
  // wake-up each `linger`, not one an item. Consumer only.
  std::vector<T> PopBatch(std::size_t max, std::chrono::nanoseconds timeout,
                          std::chrono::nanoseconds linger = {})
      ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<T> batch;
    absl::MutexLock lock(&mutex_);
    if (was_busy_ && linger.count() > 0) {
      enough_ = max;
      mutex_.AwaitWithTimeout(absl::Condition(this, &BoundedQueue::HasEnough),
                              absl::FromChrono(std::min(linger, timeout)));
      timeout -= std::min(linger, timeout);
    }
    mutex_.AwaitWithTimeout(absl::Condition(this, &BoundedQueue::Ready),
                            absl::FromChrono(timeout));
    while (!items_.empty() && batch.size() < max) {
      batch.push_back(std::move(items_.front()));
      items_.pop_front();
    }
    was_busy_ = !batch.empty();
    return batch;
  }

  // Refuses everything from now on and wakes the consumer.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }

  std::size_t Size() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return items_.size();
  }
  std::size_t Refused() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return refused_;
  }
  bool Closed() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }
  std::size_t Capacity() const { return capacity_; }

 private:
  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ || !items_.empty();
  }

  bool HasEnough() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return closed_ || items_.size() >= enough_;
  }

  const std::size_t capacity_;
  mutable absl::Mutex mutex_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::size_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  bool was_busy_ ABSL_GUARDED_BY(mutex_) = false;
  std::size_t enough_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace steadyrun
