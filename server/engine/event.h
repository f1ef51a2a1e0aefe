#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/ids.h"
#include "proto/messages/messages.h"
#include "server/model/run_spec.h"

namespace steadyrun {

// What may happen to the engine. Everything from outside enters as one of
// these, already checked for form by the adapter that made it.

struct AgentConnected {
  SessionId session;
  Hello hello;
};
struct AgentDisconnected {
  SessionId session;
  std::string reason;
};
struct AgentHeartbeat {
  SessionId session;
  NodeState state;
};
// One message's reports, in order of seq.
struct AgentReports {
  SessionId session;
  std::vector<Report> reports;
};

enum class OperatorAction {
  kCheckpoint,
  kPause,
  kResume,
  kRestart,
  kRollback,
  kStop,
  kQuarantine,
  kRelease,
  kMute,    // No notifications of the run for `duration`.
  kUnmute,  // Again at once.
  kHold,    // Nothing is stopped or started by itself until kUnhold.
  kUnhold,
};
std::string_view OperatorActionName(OperatorAction action);

struct LaunchRequested {
  std::uint64_t reply_to = 0;  // Names the waiting caller in ReplyToOperator.
  std::string request_id;
  std::string actor;
  RunSpec spec;
};
struct ActionRequested {
  std::uint64_t reply_to = 0;
  std::string request_id;
  std::string actor;
  RunId run;
  OperatorAction action = OperatorAction::kCheckpoint;
  std::string reason;
  Step step = kNoStep;
  NodeId node;
  // What the operator was looking at; an order about a run that has moved on
  // since is refused.
  std::optional<AttemptId> seen_attempt;
  std::optional<std::int64_t> seen_incidents;
  Duration duration{};  // kMute only.
};
// At a fixed pace of kTickInterval; drives every deadline.
struct Ticked {};
inline constexpr Duration kTickInterval = std::chrono::milliseconds(100);

using Event =
    std::variant<AgentConnected, AgentDisconnected, AgentHeartbeat,
                 AgentReports, LaunchRequested, ActionRequested, Ticked>;

}  // namespace steadyrun
