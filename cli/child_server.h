#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace steadyrun::cli {

// A steadyrun-server of our own, on loopback, with its data in a temporary
// directory. Ended, and its directory removed, with this object; it ends by
// itself if this program is killed.
class ChildServer {
 public:
  // `binary` empty: beside this program, else in PATH. `http_port` 0: a free
  // one. NOT_FOUND without a binary.
  static absl::StatusOr<std::unique_ptr<ChildServer>> Start(
      const std::string& binary, int http_port);
  ~ChildServer();
  ChildServer(const ChildServer&) = delete;
  ChildServer& operator=(const ChildServer&) = delete;

  std::string GrpcAddress() const;
  std::string DashboardUrl() const;
  const std::string& Directory() const { return directory_; }
  // OK while it runs; else how it ended and the end of its log.
  absl::Status Check();

 private:
  ChildServer() = default;

  std::string directory_;
  int grpc_port_ = 0;
  int http_port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace steadyrun::cli
