#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/engine/effect.h"

namespace steadyrun {

// Callers who wait for the engine's answer to an action, by `reply_to`.
// Thread-safe. Has one thread of its own, for the deadlines.
class PendingReplies {
 public:
  // Called exactly once, on any thread, without locks held.
  using Done = std::function<void(const ReplyToOperator&)>;

  // `clock` outlives this.
  PendingReplies(const Clock* clock, Duration deadline);
  ~PendingReplies();  // Close().
  PendingReplies(const PendingReplies&) = delete;
  PendingReplies& operator=(const PendingReplies&) = delete;

  // The number to put into the event. At most kMaxWaiting wait at a time:
  // beyond it 0 is returned and `done` is not kept.
  std::uint64_t Add(Done done);
  // The effect; nothing if the caller has given up.
  void Execute(const ReplyToOperator& effect);
  // The event could not be pushed: forgets the caller without an answer. False
  // if it has been answered meanwhile.
  [[nodiscard]] bool Forget(std::uint64_t reply_to);

  // Answers all that wait with UNAVAILABLE and keeps nobody from now on. Call
  // before the servers stop: they wait for the calls they carry.
  void Close();

  static constexpr std::size_t kMaxWaiting = 1024;

 private:
  struct Waiting {
    MonoTime deadline;
    Done done;
  };
  void Run();

  const Clock* const clock_;
  const Duration deadline_;
  absl::Mutex mutex_;
  std::map<std::uint64_t, Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace steadyrun
