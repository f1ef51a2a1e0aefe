#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/rpc/credentials.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace steadyrun {

// Settings of the whole process that Debian's gRPC and Abseil need (they are
// built without NDEBUG): half the cost of a message. Idempotent; call first.
void ApplyGrpcProcessSettings();

struct GrpcServerOptions {
  std::string address = "127.0.0.1:7070";  // Port 0: any free one.
  TlsFiles tls;
  bool has_tokens = false;  // Only for the check of exposure.
  bool insecure = false;    // --insecure: beyond loopback without TLS.
};

// A listening gRPC server with health and reflection.
class GrpcServer {
 public:
  // The services outlive the server. UNAVAILABLE if the address cannot be
  // bound (says which and why); FAILED_PRECONDITION if it would be exposed.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options,
      const std::vector<grpc::Service*>& services);
  ~GrpcServer();  // Stop().

  int Port() const { return port_; }
  // "host:port" with the actual port.
  std::string Address() const;
  // What the standard health service answers for all services.
  void SetServing(bool serving);
  // Refuses new calls, cuts what has not ended after a second, waits.
  void Stop();

 private:
  GrpcServer() = default;
  std::unique_ptr<grpc::Server> server_;
  std::string host_;
  int port_ = 0;
};

}  // namespace steadyrun
