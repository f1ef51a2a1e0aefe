#pragma once

#include <cstddef>
#include <deque>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/app/mailbox.h"
#include "agent/checkpoints/shards.h"
#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "base/clock.h"

namespace steadyrun::agent {

// Reads checkpoints back, beside the loop. Two threads: a recovery waits for a
// verification, so that one never queues behind the routine hashing, which
// runs at the lowest priority and leaves the machine to the training.
class ShardWorker {
 public:
  // Of each kind. A node saves one shard a rank and checkpoint.
  static constexpr std::size_t kMaxQueued = 1024;

  explicit ShardWorker(Duration watch_interval = std::chrono::seconds(5));
  ~ShardWorker();  // Ends after the file at hand.
  ShardWorker(const ShardWorker&) = delete;
  ShardWorker& operator=(const ShardWorker&) = delete;

  // Each is answered by an event: ShardHashed, ShardsVerified. False: full.
  [[nodiscard]] bool Hash(CheckpointShard shard) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool Verify(VerifyShards order) ABSL_LOCKS_EXCLUDED(mutex_);
  void Forget(RunId run) ABSL_LOCKS_EXCLUDED(mutex_);

  // ShardHashed, ShardsVerified, ShardFoundBad.
  std::vector<Event> Take() { return answers_.Take(); }
  int fd() const { return answers_.fd(); }

 private:
  bool HasRoutine() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return is_stopping_ || !shards_.empty() || !forgotten_.empty();
  }
  bool HasOrder() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return is_stopping_ || !orders_.empty();
  }
  void RunRoutine();
  void RunOrders();

  const Duration watch_interval_;
  Mailbox<Event> answers_;
  ShardWatch watch_;  // Of the routine thread alone.
  absl::Mutex mutex_;
  std::deque<CheckpointShard> shards_ ABSL_GUARDED_BY(mutex_);
  std::deque<VerifyShards> orders_ ABSL_GUARDED_BY(mutex_);
  std::set<RunId> forgotten_ ABSL_GUARDED_BY(mutex_);
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread routine_;
  std::thread verifier_;
};

}  // namespace steadyrun::agent
