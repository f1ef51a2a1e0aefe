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
  // Server epoch at which the run was forgotten; 0: it was not. Its fence is
  // kept, so that a late Start of it stays refused.
  std::uint64_t forgotten_epoch = 0;
  friend bool operator==(const DurableRun&, const DurableRun&) = default;
};
struct DurableState {
  std::string state_uuid;  // Of this state directory; half of boot_id.
  std::uint64_t max_server_epoch = 0;
  std::string server_id;  // The instance obeyed at max_server_epoch.
  // Above every seq ever used: what a lost spool is continued from.
  ReportSeq next_seq{1};
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
  StartCommand start;                 // With exactly one entry in `ranks`.
  std::int32_t local_world_size = 0;  // Ranks of this start on this node.
};
// Every process of `run` with an attempt below `below`: SIGTERM now if grace is
// not zero, SIGKILL when it is over. Repeated, with what is left of the grace,
// until all are gone.
struct KillRanks {
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
