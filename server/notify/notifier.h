#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/notify/notice.h"
#include "server/notify/sinks.h"

namespace steadyrun {

struct NotifierOptions {
  NoticeOptions notice;
  SinkOptions sinks;

  std::string alertmanager_url;  // Without /api/v2/alerts. Empty: none.
  Duration alertmanager_interval{std::chrono::minutes(1)};

  // Fetched every interval while the service can observe. Empty: none.
  std::string dead_man_url;
  Duration dead_man_interval{std::chrono::minutes(1)};

  // What is committed together with something else is told together with it.
  Duration group_wait{std::chrono::seconds(2)};

  bool IsWanted() const;
};

// What the notifier asks of the service; all outlive it and are thread-safe.
struct NotifierBackend {
  NoticeStore* store = nullptr;
  const Clock* clock = nullptr;
  // Whether a run is marked for paging.
  std::function<bool(const RunId&)> is_paged;
  // The last pass of the engine was in time and could be committed.
  std::function<bool()> can_observe;
  // Runs that are halted now.
  std::function<std::vector<HaltedRun>()> halted;
};

// Tells people and machines of incidents. What was told is in the store, so
// that each is told at least once, across restarts of the service and of the
// receiver, and not again. Each sink has a thread of its own: a dead one holds
// up no other. Thread-safe.
class Notifier {
 public:
  Notifier(const NotifierOptions& options, NotifierBackend backend);
  ~Notifier();  // Waits for attempts under way: a timeout at most.
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // Incidents, pages or mutes were committed. Never blocks.
  void Wake();

  struct SinkStatus {
    std::string sink;
    std::uint64_t delivered = 0;  // Messages; since the start.
    std::uint64_t failed = 0;     // Attempts, each made again with back-off.
    std::uint64_t dropped = 0;    // Refused for what they say.
    std::string error;            // Of the newest attempt; empty: it worked.
  };
  std::vector<SinkStatus> Status() const;

 private:
  class Worker;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace steadyrun
