#include "server/rpc/poller_rest.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "base/logging.h"

namespace steadyrun {
namespace {

// A callback on an idle machine comes in microseconds.
constexpr absl::Duration kPatience = absl::Seconds(2);

// As gRPC 1.51 counts its threads (completion_queue_cc.cc).
std::size_t PollingThreads() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency() / 2, 2,
                                 16);
}

}  // namespace

// A call that fails at once, without a connection: its callback is a way onto
// one of gRPC's threads. Shared with that callback, which may come late.
class PollerRest::Sleeper {
 public:
  // `body` runs on one of gRPC's threads.
  Sleeper(const std::shared_ptr<grpc::Channel>& channel,
          std::function<void()> body)
      : stub_(channel) {
    grpc::Slice nothing("");
    request_ = grpc::ByteBuffer(&nothing, 1);
    stub_.UnaryCall(&context_, "/none/none", grpc::StubOptions(), &request_,
                    &reply_, [this, body = std::move(body)](grpc::Status) {
                      arrived_.Notify();
                      body();
                      left_.Notify();
                    });
  }
  ~Sleeper() { left_.WaitForNotification(); }

  // False after kPatience.
  bool HasArrived() const {
    return arrived_.WaitForNotificationWithTimeout(kPatience);
  }

 private:
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer reply_;
  absl::Notification arrived_;
  absl::Notification left_;
};

PollerRest::PollerRest(Duration calm)
    : calm_(calm),
      // Without credentials: a channel on which every call fails.
      channel_(grpc::CreateChannel("none", nullptr)),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "sr-pollers");
}

PollerRest::~PollerRest() {
  {
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
  }
  thread_.join();
}

void PollerRest::Wake() {
  absl::MutexLock lock(&mutex_);
  has_work_ = true;
}

bool PollerRest::WaitForSleepers(std::size_t count) const {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return asleep_ == count;
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
}

void PollerRest::Run() {
  while (WaitForCalm()) {
    SendToSleep();
    WaitForWork();
    WakeAll();
    if (is_useless_) return;
  }
}

// False when it is time to end.
bool PollerRest::WaitForCalm() {
  absl::MutexLock lock(&mutex_);
  for (;;) {
    has_work_ = false;
    const bool was_disturbed = mutex_.AwaitWithTimeout(
        absl::Condition(this, &PollerRest::HasWork), absl::FromChrono(calm_));
    if (is_stopping_) return false;
    if (!was_disturbed) return true;
  }
}

void PollerRest::SendToSleep() {
  const auto sleep = [this] {
    absl::MutexLock lock(&mutex_);
    ++asleep_;
    mutex_.Await(absl::Condition(this, &PollerRest::HasWork));
    --asleep_;
  };
  for (std::size_t i = 0; i + 1 < PollingThreads(); ++i) {
    sleepers_.push_back(std::make_unique<Sleeper>(channel_, sleep));
    if (sleepers_.back()->HasArrived() && DoCallbacksRun()) continue;
    spdlog::warn(
        "gRPC's polling threads stay awake: its callbacks did not run");
    is_useless_ = true;
    Wake();
    return;
  }
}

bool PollerRest::DoCallbacksRun() {
  Sleeper probe(channel_, [] {});
  if (probe.HasArrived()) return true;
  Wake();  // Or the probe would wait for ever.
  return false;
}

void PollerRest::WaitForWork() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &PollerRest::HasWork));
}

// Requires: HasWork(), and nobody resets it before all are awake.
void PollerRest::WakeAll() { sleepers_.clear(); }

bool PollerRest::HasWork() const { return has_work_ || is_stopping_; }

}  // namespace steadyrun
