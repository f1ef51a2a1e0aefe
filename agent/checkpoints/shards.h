#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "base/clock.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// Reading checkpoints back. These functions read whole files and take as long
// as the storage takes: call them from a worker, not from the agent's loop.

// Fills size and digest of a shard that a rank said it saved, by reading the
// file back; `error` where that fails. A directory is hashed as the sorted
// list of its files' names, sizes and digests (at most 10,000 files).
ShardHashed HashShard(CheckpointShard shard);

// Checks each shard of a Verify command against its recorded digest.
ShardsVerified RunVerifyShards(const VerifyShards& order);

// Watches the newest shards of each run for bytes that change after they were
// reported: stat first, and a new hash only when the stat has changed and then
// stayed the same for one pass or two seconds, so that a file which is being
// written over (a trainer that keeps one file) is not judged half-way. An older
// shard that is gone was removed by the trainer, which is its right. Not
// thread-safe: owned by the worker.
class ShardWatch {
 public:
  // Keeps the newest `steps_kept` (attempt, step) of a run on this node.
  explicit ShardWatch(std::size_t steps_kept = 3) : steps_kept_(steps_kept) {}

  // After HashShard succeeded. Replaces what was known of the same path.
  void Add(const CheckpointShard& shard);
  void Forget(const RunId& run);
  // One pass over all; each bad shard is told once.
  std::vector<ShardFoundBad> Check();
  std::size_t size() const { return shards_.size(); }

 private:
  struct Watched {
    CheckpointShard shard;
    std::string good_stamp;  // What stat said when the bytes were right.
    std::string last_stamp;  // What it said in the last pass.
  };
  using Age = std::pair<AttemptId, Step>;
  using Key = std::tuple<RunId, Age, Rank, std::string>;

  std::optional<Age> NewestOf(const RunId& run) const;

  std::size_t steps_kept_;
  std::map<Key, Watched> shards_;
};

}  // namespace steadyrun::agent
