#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun {

// How far a node's reports are committed: the key of deduplication.
struct NodeCursor {
  NodeId node;
  std::string boot_id;
  ReportSeq acked;  // All reports up to here are applied and committed.
  friend bool operator==(const NodeCursor&, const NodeCursor&) = default;
};

// What the service remembers of a node across its own restarts.
struct NodeRecord {
  NodeId node;
  std::string address;
  std::string boot_id;
  bool is_quarantined = false;
  std::string quarantine_reason;
  std::int32_t incidents = 0;    // As culprit, ever.
  std::vector<WallTime> blamed;  // Recent times as hardware culprit; <= 16.
  friend bool operator==(const NodeRecord&, const NodeRecord&) = default;
};

// What was chosen and why; also when the choice was to do nothing.
struct Decision {
  RunId run;
  AttemptId attempt;
  std::int64_t incident = 0;  // 0: none.
  WallTime at;
  std::string action;  // "restart", "observe", "halt", "start", ...
  std::string reason;
};

// Nobody is notified of a run until then; what happens is recorded all the
// same. In the past: no more.
struct Mute {
  RunId run;
  WallTime until;
  std::string actor;
  std::string reason;
};

// One action somebody ordered, or policy did; committed before its effects.
struct AuditEntry {
  WallTime at;
  std::string actor;  // "policy" or the operator's name.
  std::string action;
  RunId run;
  std::string reason;
  std::string outcome;     // "accepted", "refused: ..."
  std::string request_id;  // Empty for policy.
};

// Where the wall time of a run went. Kept as intervals; the report sums them.
enum class TimeCause {
  kProductive,  // First execution of a step that is in the final lineage.
  kStartup,     // First attempt's start, to its first step.
  kCheckpoint,  // Blocked in saving.
  kDetection,   // Onset of a fault to its detection.
  kStopping,    // Detection to all ranks confirmed gone.
  kRestarting,  // To the first step of the next attempt.
  kRework,      // Steps executed again after a rollback.
  kPaused,      // By an operator.
  kWaitingForNodes,
  kHalted,
  kHeld,  // A fault or a start waited for an operator's hold to be released.
  kOther,
};
std::string_view TimeCauseName(TimeCause cause);

}  // namespace steadyrun
