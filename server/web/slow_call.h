#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <utility>

namespace steadyrun {

// A call that may take seconds, on a thread of its own: the worker of the HTTP
// server serves everybody, Prometheus too. One at a time. Start() is for one
// thread; the destructor waits for the call under way.
class SlowCall {
 public:
  SlowCall() = default;
  ~SlowCall() {
    if (thread_.joinable()) thread_.join();
  }
  SlowCall(const SlowCall&) = delete;
  SlowCall& operator=(const SlowCall&) = delete;

  // False, and nothing is done: one is under way.
  bool Start(std::function<void()> call) {
    if (is_running_.exchange(true)) return false;
    if (thread_.joinable()) thread_.join();  // It has nothing left to do.
    thread_ = std::thread([this, call = std::move(call)] {
      call();
      is_running_ = false;
    });
    return true;
  }

 private:
  std::atomic<bool> is_running_ = false;
  std::thread thread_;
};

}  // namespace steadyrun
