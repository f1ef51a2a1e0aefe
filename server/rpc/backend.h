#pragma once

// What the adapters towards agents and people need from the service behind
// them. app/ implements it over the engine loop. Everything is thread-safe.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/engine/event.h"
#include "server/engine/view.h"

namespace steadyrun {

// Takes events to the engine's queue.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // False if the queue is full or closed: the event was not taken, and the
  // caller tells its peer. Never blocks.
  [[nodiscard]] virtual bool TryPush(Event event) = 0;
};

// How the delivery of notifications to one place goes.
struct NotificationStatus {
  std::string sink;
  std::uint64_t delivered = 0;  // Since the service started, as the next two.
  std::uint64_t failed = 0;     // Attempts; each is made again.
  std::uint64_t dropped = 0;    // Refused by the receiver for what they say.
  std::string error;            // Of the newest attempt; empty: it worked.
};

// How the service itself is doing; the counters count from its start.
struct ServiceStatus {
  std::string version;
  std::string commit;
  std::uint64_t server_epoch = 0;
  std::string server_id;
  WallTime started;
  std::string database;
  std::int32_t schema_version = 0;
  std::string grpc_address;
  std::string http_address;

  bool storage_ok = true;  // The last commit worked.
  std::string storage_error;
  std::uint64_t storage_bytes = 0;  // Database with its WAL.
  Duration tick_age{};              // Since the engine last ticked.
  std::uint64_t queue_depth = 0;
  std::uint64_t queue_capacity = 0;
  std::uint64_t queue_refused = 0;
  std::uint64_t commits = 0;
  std::vector<NotificationStatus> notifications;
};

class LiveState {
 public:
  virtual ~LiveState() = default;
  // The newest picture of the engine, taken at most a tick ago. Never null.
  virtual std::shared_ptr<const EngineView> View() const = 0;
  virtual ServiceStatus Status() const = 0;
};

}  // namespace steadyrun
