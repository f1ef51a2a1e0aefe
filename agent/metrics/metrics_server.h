#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace steadyrun::agent {

// GET /metrics over plain HTTP, and nothing else: for Prometheus. One thread
// of its own; few connections, each with a deadline, so that whoever connects
// costs the node nothing. Answers nothing but what `render` says.
class MetricsServer {
 public:
  // `address`: "host:port", port 0 any free one. `render` is called on the
  // server's thread. INVALID_ARGUMENT: no address; UNAVAILABLE: cannot bind.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& address, std::function<std::string()> render);
  ~MetricsServer();

  int Port() const;
  std::string Host() const;  // As bound: "0.0.0.0" is all of them.

  // Prometheus keeps one; a second of its kind and a person with curl.
  static constexpr int kMaxConnections = 8;

 private:
  class Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun::agent
