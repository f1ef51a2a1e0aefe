#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun {

// One thing that happened, as docs/alerting.md lists them. Numbers grow and
// are never given out twice, also across restarts.
struct StoredEvent {
  std::int64_t seq = 0;
  WallTime at;
  std::string kind;  // "incident", "decision", "page", "mute"
  RunId run;
  std::int64_t incident = 0;  // 0: none.
  std::string state;          // Of the incident; of a decision its action.
  std::string severity;       // Of the incident; else empty.
  std::string text;
};

struct EventQuery {
  std::int64_t after = 0;    // Events with a greater number.
  RunId run;                 // Empty: all runs.
  std::int32_t limit = 256;  // At most kMaxEventBatch.
};
inline constexpr std::int32_t kMaxEventBatch = 1000;

// Thread-safe: any thread, beside the engine's commits. UNAVAILABLE when the
// disk cannot be read.
class EventLog {
 public:
  virtual ~EventLog() = default;
  // In order of their numbers. Retention may have deleted the oldest: a
  // reader sees that as a gap in `seq`.
  virtual absl::StatusOr<std::vector<StoredEvent>> Events(
      const EventQuery& query) = 0;
  virtual absl::StatusOr<std::int64_t> NewestEvent() = 0;  // 0: none yet.
};

}  // namespace steadyrun
