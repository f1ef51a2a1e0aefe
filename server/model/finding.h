#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun {

enum class IncidentKind {
  kCrash,          // A rank's process ended without being asked to.
  kHang,           // No rank advances within its phase's deadline.
  kNodeLost,       // A node is silent and the run does not go on without it.
  kAgentLost,      // A node's agent is silent; its ranks go on.
  kNan,            // A loss or gradient norm is not finite.
  kCheckpointBad,  // Bytes of a checkpoint are missing or changed.
  kCheckpointOverdue,
  kStartFailed,  // An attempt did not come to its first step in time.
  kStorage,      // The service or an agent cannot write to its disk.
};
std::string_view IncidentKindName(IncidentKind kind);  // "crash", "hang", ...

enum class Severity { kInfo, kWarning, kCritical };
std::string_view SeverityName(Severity severity);

struct Culprit {
  NodeId node;          // Empty: unknown.
  Rank rank = kNoRank;  // kNoRank: unknown, or the whole node.
  friend bool operator==(const Culprit&, const Culprit&) = default;
};

// One detector's claim about one attempt, with evidence.
struct Finding {
  IncidentKind kind = IncidentKind::kCrash;
  RunId run;
  AttemptId attempt;
  Culprit culprit;
  Step step = kNoStep;  // Where it showed; for kNan the first bad step.
  Now onset;            // When it began, as far as the evidence tells.
  Severity severity = Severity::kCritical;
  std::string reason;  // One sentence for a person.
  std::vector<std::string> evidence;
  std::string signature;  // Equal for equal failures; empty: none.
  // The culprit is a presumption: better evidence may replace it.
  bool is_provisional = false;
  // All evidence so far is of victims (peers that lost their connection): the
  // cause is elsewhere and not yet known.
  bool is_victim = false;
  // Cannot be the consequence of a peer's fault: killed from outside, or a
  // node gone. Beside another cause it is a fault of its own.
  bool is_independent = false;
};

}  // namespace steadyrun
