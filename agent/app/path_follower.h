#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/core/event.h"
#include "agent/logs/step_source.h"
#include "agent/supervisor/supervisor.h"
#include "base/clock.h"

namespace steadyrun::agent {

// Reads the step sources of Start.log_path, beside the loop: such a path may
// be on a file system that stands still. A source is read again once what it
// gave last was taken, so that one reading a source is all that is kept.
class PathFollower {
 public:
  using Open = std::function<std::unique_ptr<StepSource>()>;
  struct Reading {
    RankKey key;
    std::vector<Event> events;
    std::vector<std::string> notes;
    Step last_step = kNoStep;
  };

  explicit PathFollower(Duration interval = std::chrono::milliseconds(500));
  ~PathFollower();  // Ends after the reading at hand.
  PathFollower(const PathFollower&) = delete;
  PathFollower& operator=(const PathFollower&) = delete;

  // `open` runs on the reading thread, soon.
  void Follow(const RankKey& key, Open open) ABSL_LOCKS_EXCLUDED(mutex_);
  // The rank has ended: what is left is read, then no more.
  void End(const RankKey& key) ABSL_LOCKS_EXCLUDED(mutex_);
  // Nothing more of it.
  bool Drop(const RankKey& key) ABSL_LOCKS_EXCLUDED(mutex_);

  std::vector<Reading> Take() ABSL_LOCKS_EXCLUDED(mutex_);
  // All that was taken is durable in the spool.
  void CommitCursors() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Followed {
    Open open;
    std::unique_ptr<StepSource> source;  // Of the thread alone.
    std::optional<Reading> ready;
    Step last_step = kNoStep;  // As last given.
    std::string ready_cursor;  // After `ready`.
    std::string taken_cursor;
    std::string due_cursor;  // To be written.
    bool is_ending = false;
  };

  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void ReadOne(const std::shared_ptr<Followed>& one, const RankKey& key)
      ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return is_stopping_ || is_changed_;
  }

  const Duration interval_;
  const SystemClock clock_;
  absl::Mutex mutex_;
  std::map<RankKey, std::shared_ptr<Followed>> followed_
      ABSL_GUARDED_BY(mutex_);
  bool is_changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<std::thread> thread_;  // Since the first Follow.
};

}  // namespace steadyrun::agent
