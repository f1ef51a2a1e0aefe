#include "server/detect/node_hearing.h"

#include <algorithm>

namespace steadyrun {

void NodeHearing::Heard(const NodeId& node, MonoTime now) {
  Ear& ear = ears_[node];
  if (now - ear.heard > kGap) ear.gap_ended = now;
  ear.heard = now;
  ear.is_connected = true;
}

void NodeHearing::Disconnected(const NodeId& node, MonoTime) {
  const auto ear = ears_.find(node);
  if (ear != ears_.end()) ear->second.is_connected = false;
}

bool NodeHearing::Tick(MonoTime now) {
  const bool is_late = last_tick_.has_value() && now - *last_tick_ > kLateTick;
  last_tick_ = now;
  if (is_late) Reset(now);
  return is_late;
}

void NodeHearing::Reset(MonoTime now) {
  start_ = now;
  settling_ = now;
  for (auto& [node, ear] : ears_) {
    // A node that was silent for long stays so: our own stall of seconds does
    // not explain it.
    if (now - ear.heard < kRecent) ear.heard = now;
  }
}

MonoTime NodeHearing::LastHeard(const NodeId& node) const {
  const auto ear = ears_.find(node);
  return ear == ears_.end() ? start_ : ear->second.heard;
}

Duration NodeHearing::Silence(const NodeId& node, MonoTime now) const {
  return now - LastHeard(node);
}

bool NodeHearing::IsConnected(const NodeId& node) const {
  const auto ear = ears_.find(node);
  return ear != ears_.end() && ear->second.is_connected;
}

bool NodeHearing::IsCatchingUp(const NodeId& node, MonoTime now) const {
  const auto ear = ears_.find(node);
  return ear != ears_.end() && now < ear->second.gap_ended + kCatchUp;
}

double NodeHearing::SilentShare(Duration silent_after, MonoTime now) const {
  std::size_t recent = 0;
  std::size_t silent = 0;
  for (const auto& [node, ear] : ears_) {
    const Duration silence = now - ear.heard;
    if (silence > kRecent) continue;
    ++recent;
    if (silence >= silent_after) ++silent;
  }
  return recent == 0
             ? 1.0
             : static_cast<double>(silent) / static_cast<double>(recent);
}

}  // namespace steadyrun
