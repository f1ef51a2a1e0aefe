#pragma once

// A node's agent that can no longer write its spool. Telemetry is thinned
// there, facts are kept in memory, training goes on: a warning.

#include <optional>
#include <set>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/watched_attempt.h"

namespace steadyrun {

class StorageDetector {
 public:
  void Begin(const WatchedAttempt& attempt) { attempt_ = attempt; }

  // Adds a finding when the spool of a node of this run becomes full, and a
  // clearance when it is writable again.
  void Observe(const NodeState& state, Now now, Verdicts* verdicts);

 private:
  WatchedAttempt attempt_;
  std::set<NodeId> full_;
};

// The service's own database refuses writes: for every run, same words.
Finding StorageFinding(const WatchedAttempt& attempt, const std::string& error,
                       Now now);

}  // namespace steadyrun
