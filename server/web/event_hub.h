#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/web/http_server.h"

namespace steadyrun {

struct EventHubOptions {
  std::size_t max_viewers = 400;
  // What is kept for viewers who come back or are slow: about ten minutes of
  // one busy run. One copy for all of them.
  std::size_t max_events = 2048;
  std::size_t max_bytes = 4 << 20;
  // Sent at a time, and so all that one viewer holds.
  std::size_t max_piece_bytes = 32 << 10;
};

// Server-sent events to many viewers out of one ring. A viewer is a place in
// the ring and nothing more: one that is slow, or dead, costs no memory and
// holds nobody up. One that fell out of the ring, or asks for an event that is
// no longer there, gets "resync": read everything anew. Thread-safe.
class EventHub {
 public:
  explicit EventHub(EventHubOptions options = {});

  // `name` and `json` are one line each. Never blocks on a viewer.
  void Publish(std::string_view name, std::string_view json);

  // The stream of events after `last_event_id` (the header's text; empty: from
  // now on). RESOURCE_EXHAUSTED beyond max_viewers. The hub outlives it.
  absl::StatusOr<std::shared_ptr<HttpStream>> Subscribe(
      std::string_view last_event_id);

  std::size_t Viewers() const;

 private:
  class Viewer;
  struct Entry {
    std::string text;  // As it goes over the wire.
  };

  void Append(std::string_view name, std::string_view json,
              std::vector<std::function<void()>>* wakes);
  std::string TakeFor(Viewer* viewer);
  void Leave(Viewer* viewer);
  std::uint64_t NextId() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return first_id_ + ring_.size();
  }

  const EventHubOptions options_;
  // Tells the ids of this process from those of an earlier one.
  const std::string life_;
  absl::Mutex publishing_;  // Held around mutex_: one publisher at a time.
  mutable absl::Mutex mutex_;
  std::deque<Entry> ring_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t first_id_ ABSL_GUARDED_BY(mutex_) = 1;
  std::size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_set<Viewer*> viewers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun
