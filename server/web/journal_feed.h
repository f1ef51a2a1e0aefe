#pragma once

// Incidents, decisions, pages and mutes as server-sent events, for automation
// that speaks HTTP: what WatchEvents is over gRPC, with the same numbers.
//
//   id: 17
//   event: incident
//   data: {"seq": "17", ...}      an Event of operator.proto
//
// Each stream holds one piece of at most kMaxPiece and gets the next when that
// has gone out, so that a slow reader holds up neither the service nor others;
// the store keeps what it has not read. One thread reads the store for all of
// them, never an I/O thread of the server. Thread-safe.

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/operator_api.h"
#include "server/web/http_server.h"

namespace steadyrun {

class JournalFeed {
 public:
  // As many as WatchEvents has watchers.
  static constexpr std::size_t kMaxStreams = 64;
  static constexpr std::size_t kMaxPiece = 32 << 10;

  explicit JournalFeed(OperatorApi* api);  // `api` outlives this.
  ~JournalFeed();

  // Events with a number greater than `after`, of `run` or of all (empty).
  // RESOURCE_EXHAUSTED beyond kMaxStreams. May outlive the feed, silent then.
  absl::StatusOr<std::shared_ptr<HttpStream>> Follow(std::int64_t after,
                                                     std::string run);
  // Something was committed. Never blocks; any thread.
  void Wake();

 private:
  class Stream;
  // Shared with the streams, which may outlive the feed.
  struct Bell {
    absl::Mutex mutex;
    bool is_rung ABSL_GUARDED_BY(mutex) = false;
    bool is_closed ABSL_GUARDED_BY(mutex) = false;
    void Ring();
  };

  void Run();
  void Serve(const std::shared_ptr<Stream>& stream);
  std::vector<std::shared_ptr<Stream>> Living();

  OperatorApi* const api_;
  const std::shared_ptr<Bell> bell_;
  absl::Mutex mutex_;
  std::vector<std::weak_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace steadyrun
