#pragma once

// When each node was last heard, over all runs. One thread; O(nodes).

#include <map>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun {

class NodeHearing {
 public:
  // Ticks come every 100 ms. One this late means that the service itself was
  // stopped or starved, so silence says nothing about the nodes.
  static constexpr Duration kLateTick = std::chrono::seconds(2);
  static constexpr Duration kRecent = std::chrono::seconds(90);
  // A gap is three missed heartbeats. A burst takes milliseconds; half a
  // second is ample, and short enough not to blind us to a node that flaps.
  static constexpr Duration kGap = std::chrono::milliseconds(1500);
  static constexpr Duration kCatchUp = std::chrono::milliseconds(500);

  // `start`: all nodes count as heard then, and the settling begins.
  explicit NodeHearing(MonoTime start) : start_(start), settling_(start) {}

  // Any word of the node on its live session.
  void Heard(const NodeId& node, MonoTime now);
  // The node's session ended. Silence still counts from the last word.
  void Disconnected(const NodeId& node, MonoTime now);
  // Every tick. True if it came so late that all were reset.
  bool Tick(MonoTime now);
  // The service could not do its work (storage): all count as heard now.
  void Reset(MonoTime now);

  // A node never heard counts from the start or the last reset.
  MonoTime LastHeard(const NodeId& node) const;
  Duration Silence(const NodeId& node, MonoTime now) const;
  bool IsConnected(const NodeId& node) const;
  // Heard again only just now, after a gap. A stream that was stuck delivers
  // in one burst what it held back, oldest first: the first words are old.
  bool IsCatchingUp(const NodeId& node, MonoTime now) const;
  // Of the nodes heard within the last kRecent, the share that is silent for
  // `silent_after`: whether it is we who are deaf. Nodes gone for longer are
  // old losses and say nothing about now.
  double SilentShare(Duration silent_after, MonoTime now) const;
  // Since when the present settling runs: start, late tick or reset.
  MonoTime SettlingSince() const { return settling_; }

 private:
  struct Ear {
    MonoTime heard;
    MonoTime gap_ended = MonoTime::min();
    bool is_connected = false;
  };
  std::map<NodeId, Ear> ears_;
  MonoTime start_;
  MonoTime settling_;
  std::optional<MonoTime> last_tick_;
};

}  // namespace steadyrun
