#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/ids.h"
#include "proto/messages/messages.h"
#include "server/model/checkpoint.h"
#include "server/model/incident.h"
#include "server/model/records.h"
#include "server/model/run_state.h"
#include "server/model/step_row.h"

namespace steadyrun {

// What the engine asks for. It performs none of it. Effects are carried out
// only after all changes of the same Outcome are committed.

// Lost sessions lose commands; the engine derives them again on reconnect.
struct SendCommand {
  SessionId session;
  Command command;
};
struct SendWelcome {
  SessionId session;
  Welcome welcome;
};
struct AckReports {
  SessionId session;
  ReportSeq seq;
};
struct CloseSession {
  SessionId session;
  absl::Status status;
};
struct ReplyToOperator {
  std::uint64_t reply_to = 0;
  absl::Status status;
  std::string message;
  RunId run;
  AttemptId attempt;
  Step step = kNoStep;
  bool is_duplicate = false;
};
// Something a person must know; goes to the notifiers.
struct Page {
  RunId run;
  std::int64_t incident = 0;
  std::string text;
};
using Effect = std::variant<SendCommand, SendWelcome, AckReports, CloseSession,
                            ReplyToOperator, Page>;

// A change of durable state. A Page is one as well as an effect: the log and
// the pager carry it out at once, the outbox keeps it for the notifications.
// Changes are applied in order, in one transaction.
struct RequestDone {
  std::string request_id;
  std::string reply;  // As given, so that a repetition gets the same.
};
struct RankFailed {  // Kept for `explain`: the raw evidence of an exit.
  RankExited exit;
  NodeId node;
  WallTime at;
};
using Change = std::variant<RunState, Incident, Checkpoint, NodeRecord,
                            NodeCursor, StepRow, Decision, AuditEntry,
                            RequestDone, RankFailed, Mute, Page>;

struct Outcome {
  std::vector<Change> changes;
  std::vector<Effect> effects;
  // Sentences for the log: what changed and why. Sorted, only on change.
  std::vector<std::string> log;
};

}  // namespace steadyrun
