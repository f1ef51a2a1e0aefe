#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// What may happen to the agent's core. Adapters check form, the core decides.

// --- The stream to the server.
struct StreamOpened {};  // Hello must be sent.
struct StreamClosed {
  std::string reason;
};
struct WelcomeReceived {
  Welcome welcome;
};
struct AckReceived {
  ReportSeq seq;
};
struct CommandReceived {
  Command command;
};

// --- The local processes.
struct RankSpawned {
  RunId run;
  AttemptId attempt;
  Rank rank;
  std::int32_t pid = 0;
};
struct RankSpawnFailed {
  RunId run;
  AttemptId attempt;
  Rank rank;
  std::string error;
};
// The process and all its descendants are gone, proved by the supervisor.
struct RankGone {
  RankExited exit;  // killed_by_agent is filled by the core.
};
// What the flight recorders, or a followed log, say; one per live rank.
struct RankObserved {
  RunId run;
  RankState state;
};
struct StepsRead {
  StepBlock block;
};
struct ShardHashed {
  CheckpointShard shard;
};
struct ShardFoundBad {
  CheckpointShardBad bad;
};
struct RankSaidFinished {
  RankFinished finished;
};
struct SaveWordWritten {  // Answer to WriteSaveWord.
  std::string command_id;
  RunId run;
  AttemptId attempt;
  bool is_missed = false;  // A rank had passed the step already.
  std::string error;
};
struct ShardsVerified {
  std::string command_id;
  RunId run;
  AttemptId attempt;
  std::vector<ShardCheck> checks;
};

// --- The disk.
struct StatePersisted {
  std::uint64_t ticket = 0;  // Of the PersistState that is now on disk.
};
struct StatePersistFailed {
  std::uint64_t ticket = 0;
  absl::Status status;
};
struct SpoolStateChanged {
  std::uint64_t spooled = 0;
  std::uint64_t dropped = 0;
  bool is_full = false;
};

struct Ticked {};

using Event =
    std::variant<StreamOpened, StreamClosed, WelcomeReceived, AckReceived,
                 CommandReceived, RankSpawned, RankSpawnFailed, RankGone,
                 RankObserved, StepsRead, ShardHashed, ShardFoundBad,
                 RankSaidFinished, SaveWordWritten, ShardsVerified,
                 StatePersisted, StatePersistFailed, SpoolStateChanged, Ticked>;

}  // namespace steadyrun::agent
