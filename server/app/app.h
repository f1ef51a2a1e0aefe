#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/app/config.h"

namespace steadyrun {

// The whole service in one object, so that tests can run it in their process
// on free ports (addresses with port 0).
class App {
 public:
  // Waits for `wait`, a time at most; true: stop trying.
  using WaitOrStop = std::function<bool(Duration wait)>;

  // Opens the store, loads the engine and listens. While the disk is full or
  // does not answer it waits and tries again, with a line in the log, until
  // `wait_or_stop` says to stop (CANCELLED): training goes on meanwhile. Other
  // errors are returned at once; each says what to do. `clock` outlives this.
  static absl::StatusOr<std::unique_ptr<App>> Start(
      const ServerConfig& config, const Clock* clock,
      const WaitOrStop& wait_or_stop);
  ~App();  // Stop().

  // Takes leave of agents and callers, finishes the commit in work.
  void Stop();

  int GrpcPort() const;
  int HttpPort() const;
  std::string GrpcAddress() const;
  std::string HttpAddress() const;
  // The engine's thread is alive. A disk that is full is no reason to say no.
  bool IsHealthy() const;

 private:
  class Impl;
  explicit App(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun
