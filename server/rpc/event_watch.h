#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/storage/event_log.h"
#include "steadyrun/v1/operator.pb.h"

namespace steadyrun {

// Hands the event log to those who follow it by WatchEvents. Each watcher has
// one batch in memory and gets the next when it has read that: a slow one
// holds up neither the service nor others. A thread of its own reads the
// store, so that gRPC's threads never wait for the disk. Thread-safe.
class EventWatch {
 public:
  using Reactor = grpc::ServerWriteReactor<v1::Event>;

  explicit EventWatch(EventLog* log);  // `log` outlives this.
  ~EventWatch();                       // Close().

  // The reactor of one call; it ends and deletes itself.
  Reactor* Watch(const v1::WatchEventsRequest& request);
  // The reactor of a call that ends at once.
  static Reactor* Refuse(grpc::Status status);
  // Something was committed. Never blocks for long; any thread.
  void Wake();
  // Ends all watchers with UNAVAILABLE and takes no new ones.
  void Close();

  // Automation and dashboards; each costs about 100 KB at most.
  static constexpr std::size_t kMaxWatchers = 64;

 private:
  class Watcher;

  void Run();
  void Serve(const std::vector<std::shared_ptr<Watcher>>& watchers);
  void Remove(const Watcher* watcher) ABSL_LOCKS_EXCLUDED(mutex_);

  EventLog* const log_;
  absl::Mutex mutex_;
  std::vector<std::shared_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mutex_);
  bool is_woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace steadyrun
