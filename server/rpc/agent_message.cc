#include "server/rpc/agent_message.h"

#include <utility>

#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

absl::Status CheckSameSpeaker(const NodeState& state, const NodeState& hello) {
  if (state.node != hello.node) {
    return checks::Bad("node", state.node, hello.node + ", as in the Hello");
  }
  if (state.boot_id != hello.boot_id) {
    return checks::Bad("boot_id", state.boot_id,
                       hello.boot_id + ", as in the Hello");
  }
  if (state.agent_incarnation != hello.agent_incarnation) {
    return checks::Bad(
        "agent_incarnation", fmt::format("{}", state.agent_incarnation.value),
        fmt::format("{}, as in the Hello", hello.agent_incarnation.value));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Hello> ReadHello(const v1::AgentMessage& message) {
  if (!message.has_hello()) {
    return checks::Bad("hello", "none", "a Hello as the first message");
  }
  if (message.has_heartbeat() || message.reports_size() != 0) {
    return checks::Bad("hello", "a heartbeat or reports beside it",
                       "a first message with the Hello alone");
  }
  absl::StatusOr<Hello> hello = FromProto(message.hello());
  if (!hello.ok()) return checks::In("hello", hello.status());
  return hello;
}

absl::StatusOr<AgentSpeech> ReadSpeech(const v1::AgentMessage& message,
                                       const NodeState& hello) {
  if (message.has_hello()) {
    return checks::Bad("hello", "a second one",
                       "a Hello in the first message only");
  }
  AgentSpeech speech;
  speech.reports.reserve(static_cast<std::size_t>(message.reports_size()));
  for (int i = 0; i < message.reports_size(); ++i) {
    absl::StatusOr<Report> report = FromProto(message.reports(i));
    if (!report.ok()) return checks::In("reports", i, report.status());
    if (i > 0 && report->seq <= speech.reports.back().seq) {
      return checks::In(
          "reports", i,
          checks::Bad("seq", fmt::format("{}", report->seq.value),
                      fmt::format("more than the one before, {}",
                                  speech.reports.back().seq.value)));
    }
    speech.reports.push_back(*std::move(report));
  }
  if (message.has_heartbeat()) {
    absl::StatusOr<NodeState> state = FromProto(message.heartbeat());
    if (!state.ok()) return checks::In("heartbeat", state.status());
    if (const auto same = CheckSameSpeaker(*state, hello); !same.ok()) {
      return checks::In("heartbeat", same);
    }
    speech.has_heartbeat = true;
    speech.heartbeat = *std::move(state);
  }
  return speech;
}

}  // namespace steadyrun
