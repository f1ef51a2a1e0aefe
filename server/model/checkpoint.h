#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/clock.h"
#include "proto/messages/messages.h"

namespace steadyrun {

// A state can only be left downwards in this list, or to kDistrusted.
enum class CheckpointState {
  kWritten,     // Some ranks have reported their shard.
  kComplete,    // All shards of one attempt reported and read back.
  kVerified,    // All shards re-read from storage with equal digests.
  kTrusted,     // The run made kTrustSteps healthy steps after it.
  kDistrusted,  // Never resume from it; see reason.
};
std::string_view CheckpointStateName(CheckpointState state);

// The ledger's entry. Only the ledger says which checkpoints count.
struct Checkpoint {
  RunId run;
  AttemptId attempt;
  Step step = kNoStep;
  CheckpointState state = CheckpointState::kWritten;
  std::string reason;
  std::int32_t shards_expected = 0;
  std::map<std::int32_t, CheckpointShard> shards;  // By rank.
  WallTime saved;           // When the last shard was reported (server clock).
  double save_seconds = 0;  // Longest of the ranks.

  std::int64_t SizeBytes() const {
    std::int64_t size = 0;
    for (const auto& [rank, shard] : shards) size += shard.size_bytes;
    return size;
  }
  friend bool operator==(const Checkpoint&, const Checkpoint&) = default;
};

}  // namespace steadyrun
