#include "agent/app/shard_worker.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/time/time.h"

namespace steadyrun::agent {
namespace {

// This thread yields to everything else, on the CPU and on the disk.
void TakeLowestPriority() {
  const auto self = static_cast<id_t>(::syscall(SYS_gettid));
  ::setpriority(PRIO_PROCESS, self, 19);
  constexpr int kWhoProcess = 1;
  constexpr int kIdleClass = 3 << 13;
  ::syscall(SYS_ioprio_set, kWhoProcess, 0, kIdleClass);
}

}  // namespace

ShardWorker::ShardWorker(Duration watch_interval)
    : watch_interval_(watch_interval),
      routine_([this] { RunRoutine(); }),
      verifier_([this] { RunOrders(); }) {
  ::pthread_setname_np(routine_.native_handle(), "shard-watch");
  ::pthread_setname_np(verifier_.native_handle(), "shard-verify");
}

ShardWorker::~ShardWorker() {
  {
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
  }
  routine_.join();
  verifier_.join();
}

bool ShardWorker::Hash(CheckpointShard shard) {
  absl::MutexLock lock(&mutex_);
  if (shards_.size() >= kMaxQueued) return false;
  shards_.push_back(std::move(shard));
  return true;
}

bool ShardWorker::Verify(VerifyShards order) {
  absl::MutexLock lock(&mutex_);
  if (orders_.size() >= kMaxQueued) return false;
  orders_.push_back(std::move(order));
  return true;
}

void ShardWorker::Forget(RunId run) {
  absl::MutexLock lock(&mutex_);
  forgotten_.insert(std::move(run));
}

void ShardWorker::RunRoutine() {
  TakeLowestPriority();
  for (;;) {
    std::optional<CheckpointShard> shard;
    std::set<RunId> forgotten;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &ShardWorker::HasRoutine),
                              absl::FromChrono(watch_interval_));
      if (is_stopping_) return;
      forgotten = std::exchange(forgotten_, {});
      if (!shards_.empty()) {
        shard = std::move(shards_.front());
        shards_.pop_front();
      }
    }
    for (const RunId& run : forgotten) watch_.Forget(run);
    if (shard) {
      ShardHashed hashed = HashShard(*std::move(shard));
      if (hashed.shard.error.empty()) watch_.Add(hashed.shard);
      answers_.Push(std::move(hashed));
      continue;
    }
    for (ShardFoundBad& bad : watch_.Check()) answers_.Push(std::move(bad));
  }
}

void ShardWorker::RunOrders() {
  for (;;) {
    VerifyShards order;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &ShardWorker::HasOrder));
      if (is_stopping_) return;
      order = std::move(orders_.front());
      orders_.pop_front();
    }
    answers_.Push(RunVerifyShards(order));
  }
}

}  // namespace steadyrun::agent
