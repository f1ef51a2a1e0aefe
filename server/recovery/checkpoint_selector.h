#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "server/model/checkpoint.h"
#include "server/model/run_state.h"

namespace steadyrun {

// A run's checkpoints, by step and then attempt: the last is the newest.
using CheckpointKey = std::pair<Step, AttemptId>;
using CheckpointMap = std::map<CheckpointKey, Checkpoint>;

// All shards are reported, read back, and nothing speaks against it.
bool IsUsable(const Checkpoint& checkpoint);

struct CheckpointChoice {
  const Checkpoint* checkpoint = nullptr;  // Null: from the beginning.
  std::string reason;
};

// The newest usable checkpoint below `below` (none: any), or at exactly `at`.
// Equal steps: the newer attempt's, which is the one in the final lineage.
CheckpointChoice SelectCheckpoint(const CheckpointMap& checkpoints,
                                  std::optional<Step> below,
                                  std::optional<Step> at);

// The shard that `rank` loads: its own, or where not every rank saves that of
// the nearest lower rank that does (rank 0's, or its node's first rank's).
// Null if there is none.
const CheckpointShard* ShardOf(const Checkpoint& checkpoint, Rank rank);

}  // namespace steadyrun
