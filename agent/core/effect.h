#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// What must survive the agent: the fence. Small (a few KB), written whole.
struct DurableRun {
  RunId run;
  AttemptId floor;
  AttemptId started;  // Persisted before the first fork of that attempt.
  friend bool operator==(const DurableRun&, const DurableRun&) = default;
};
struct DurableState {
  std::string state_uuid;  // Of this state directory; half of boot_id.
  std::uint64_t max_server_epoch = 0;
  std::string server_id;         // The instance obeyed at max_server_epoch.
  ReportSeq next_seq{1};         // Upper bound; the spool knows the exact one.
  std::vector<DurableRun> runs;  // By run.
  friend bool operator==(const DurableState&, const DurableState&) = default;
};

// What the core asks for. Carried out in order. An effect that must follow a
// PersistState is only issued after the matching StatePersisted arrived.

struct PersistState {
  std::uint64_t ticket = 0;
  DurableState state;
};
struct SpawnRank {
  RunId run;
  AttemptId attempt;
  StartCommand start;  // With exactly one entry in `ranks`.
};
struct KillRanks {  // Every process of `run` with an attempt below the floor.
  RunId run;
  AttemptId below;
  Duration grace{};
};
struct WriteSaveWord {
  std::string command_id;
  RunId run;
  AttemptId attempt;
  SaveCommand save;
};
struct VerifyShards {
  std::string command_id;
  RunId run;
  AttemptId attempt;
  VerifyCommand verify;
};
// Into the spool, in order of seq; sent by the transport from there.
struct AppendReport {
  Report report;
};
struct DropReportsThrough {  // Committed by the server.
  ReportSeq seq;
};
struct SendHello {
  Hello hello;
};
struct SendReportsFrom {  // (Re)start sending from the spool after this seq.
  ReportSeq after;
};
struct SendHeartbeat {
  NodeState state;
};
struct CloseStream {
  std::string reason;
};
struct RemoveRunFiles {
  RunId run;
};
using Effect =
    std::variant<PersistState, SpawnRank, KillRanks, WriteSaveWord,
                 VerifyShards, AppendReport, DropReportsThrough, SendHello,
                 SendReportsFrom, SendHeartbeat, CloseStream, RemoveRunFiles>;

struct Outcome {
  std::vector<Effect> effects;
  std::vector<std::string> log;
};

}  // namespace steadyrun::agent
