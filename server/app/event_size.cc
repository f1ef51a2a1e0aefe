#include "server/app/event_size.h"

#include <variant>

namespace steadyrun {
namespace {

// An event's own fields and a message's small texts.
constexpr std::int64_t kBaseBytes = 512;
constexpr std::int64_t kPerRankState = sizeof(RankState);

std::int64_t Bytes(const Report& report) {
  if (const auto* block = std::get_if<StepBlock>(&report.body)) {
    return static_cast<std::int64_t>(sizeof(Report) +
                                     block->values.size() * sizeof(float) +
                                     block->ranks.size() * 4);
  }
  return static_cast<std::int64_t>(sizeof(Report)) + kBaseBytes;
}

std::int64_t Bytes(const NodeState& state) {
  std::int64_t bytes = kBaseBytes;
  for (const NodeRunState& run : state.runs) {
    bytes += static_cast<std::int64_t>(run.ranks.size()) * kPerRankState;
  }
  return bytes;
}

}  // namespace

std::int64_t QueuedBytes(const Event& event) {
  if (const auto* reports = std::get_if<AgentReports>(&event)) {
    std::int64_t bytes = kBaseBytes;
    for (const Report& report : reports->reports) bytes += Bytes(report);
    return bytes;
  }
  if (const auto* heartbeat = std::get_if<AgentHeartbeat>(&event)) {
    return Bytes(heartbeat->state);
  }
  if (const auto* connected = std::get_if<AgentConnected>(&event)) {
    return Bytes(connected->hello.state);
  }
  return kBaseBytes;
}

}  // namespace steadyrun
