#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/effect.h"
#include "server/rpc/backend.h"
#include "server/web/event_hub.h"

namespace steadyrun {

// What viewers are told, as events of an EventHub:
//   run      {"run", "phase", "attempt", "step", ...}: the figures of one run,
//            whenever they differ from what was said last
//   changed  {"run", "what": ["incident", ...]}: read these anew
// The engine's thread only notes which runs changed; a thread of this object
// looks at the live view kPeriod after kPeriod, and makes each event once for
// all viewers. Without viewers it does nothing.
class LiveFeed {
 public:
  // Both outlive this.
  LiveFeed(const LiveState* live, EventHub* hub);
  ~LiveFeed();
  LiveFeed(const LiveFeed&) = delete;
  LiveFeed& operator=(const LiveFeed&) = delete;

  // Changes of a committed transaction. Cheap; any thread.
  void Observe(const Outcome& outcome);

  // Four pictures a second look live to people.
  static constexpr Duration kPeriod = std::chrono::milliseconds(250);
  // Notes beyond this many runs within a period become one "changed" for all.
  static constexpr std::size_t kMaxNotedRuns = 256;

 private:
  void Run();
  void PublishChanged();
  void PublishRuns();

  const LiveState* const live_;
  EventHub* const hub_;
  std::map<std::string, std::string> said_;  // Run -> last JSON. The thread's.
  absl::Mutex mutex_;
  std::map<std::string, std::set<std::string>> noted_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace steadyrun
