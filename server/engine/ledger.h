#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/model/checkpoint.h"
#include "server/recovery/checkpoint_selector.h"

namespace steadyrun {

// The checkpoints of one run: only what stands here counts, whatever lies in
// some directory. Shards come with the digest that the agent got when it read
// the file back, so a checkpoint with all its shards is verified.
//
//   written -> complete -> verified -> trusted
//        any of them -> distrusted, for ever
class Ledger {
 public:
  // Older entries are dropped from here (not from the store) past this many;
  // a run does not go back further.
  static constexpr std::size_t kMaxEntries = 1024;

  void Restore(Checkpoint checkpoint);

  struct Added {
    const Checkpoint* checkpoint = nullptr;
    bool is_now_verified = false;  // This shard was the last one.
  };
  // Requires: the shard is of the current attempt (older ones are refused by
  // the caller: that is the fence).
  Added Add(const CheckpointShard& shard, Now now);

  // False if unknown or distrusted already.
  bool Distrust(AttemptId attempt, Step step, const std::string& reason);
  void DistrustFrom(Step step, const std::string& reason);
  // `step` was healthy: verified checkpoints `trust_steps` behind it that the
  // attempt has in its lineage become trusted.
  void Trust(AttemptId attempt, AttemptId resumed_from, Step resume_step,
             Step step, std::int64_t trust_steps);

  const CheckpointMap& All() const { return checkpoints_; }
  const Checkpoint* Find(AttemptId attempt, Step step) const;
  // Those that changed since the last call, by key.
  std::vector<Checkpoint> TakeChanged();

 private:
  void Changed(const CheckpointKey& key) { changed_.insert(key); }

  CheckpointMap checkpoints_;
  std::set<CheckpointKey> changed_;
  std::set<CheckpointKey> verified_;  // Not trusted yet.
};

}  // namespace steadyrun
