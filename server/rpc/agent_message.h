#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "proto/messages/messages.h"
#include "steadyrun/v1/agent.pb.h"

namespace steadyrun {

// Reads what an agent sent. INVALID_ARGUMENT names the field. Pure.

// The first message: a Hello and nothing else.
absl::StatusOr<Hello> ReadHello(const v1::AgentMessage& message);

// A later one. An agent speaks only for the node, the life and the process of
// its Hello.
struct AgentSpeech {
  std::vector<Report> reports;  // In order of seq.
  bool has_heartbeat = false;
  NodeState heartbeat;
};
absl::StatusOr<AgentSpeech> ReadSpeech(const v1::AgentMessage& message,
                                       const NodeState& hello);

}  // namespace steadyrun
