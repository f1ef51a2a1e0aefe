#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"

namespace grpc {
class Channel;
}

namespace steadyrun {

// Lets all but one of gRPC's polling threads sleep while agents only trickle.
//
// gRPC 1.51 starts between 2 and 16 threads for callbacks. At each event the
// one that polls hands the epoll set to another before it runs the callback:
// two wake-ups of threads a message, which is half of what a message costs when
// a thousand agents speak in turn. No setting changes their number; a callback
// that does not return does. New streams come in storms with handshakes, so
// Wake() gives all threads back until it has been calm for a while.
//
// Requires: no callback blocks, since one thread runs them all. If callbacks
// turn out not to run while the others sleep (another gRPC), it gives up.
class PollerRest {
 public:
  explicit PollerRest(Duration calm);
  ~PollerRest();  // Gives the threads back.
  PollerRest(const PollerRest&) = delete;
  PollerRest& operator=(const PollerRest&) = delete;

  // There is more to do. Cheap, thread-safe.
  void Wake();

  // Threads that sleep now; for tests, false if `count` are not within 20 s.
  bool WaitForSleepers(std::size_t count) const;

 private:
  class Sleeper;

  void Run();
  bool WaitForCalm();
  void SendToSleep();
  bool DoCallbacksRun();
  void WaitForWork();
  void WakeAll();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Duration calm_;
  std::shared_ptr<grpc::Channel> channel_;
  std::vector<std::unique_ptr<Sleeper>> sleepers_;  // Of Run() alone.
  bool is_useless_ = false;                         // Of Run() alone.

  mutable absl::Mutex mutex_;
  std::size_t asleep_ ABSL_GUARDED_BY(mutex_) = 0;
  bool has_work_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace steadyrun
