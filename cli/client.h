#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "steadyrun/v1/operator.grpc.pb.h"

namespace steadyrun::cli {

struct ClientOptions {
  std::string server = "127.0.0.1:7070";
  std::string token;    // Sent as "authorization: Bearer <token>".
  std::string ca_file;  // Not empty: TLS, verified against this CA.
  std::chrono::seconds timeout{15};
};

// Calls the operator service. A server that is just restarting is waited for:
// UNAVAILABLE is retried until the timeout, which is safe because queries
// change nothing and actions carry a request_id. Not thread-safe.
class Client {
 public:
  // NOT_FOUND or UNAVAILABLE when the CA file cannot be read.
  static absl::StatusOr<Client> Connect(const ClientOptions& options);

  template <typename Request, typename Reply>
  using Method = grpc::Status (v1::OperatorService::Stub::*)(
      grpc::ClientContext*, const Request&, Reply*);

  template <typename Request, typename Reply>
  absl::Status Call(Method<Request, Reply> method, const Request& request,
                    Reply* reply) {
    return CallFor(options_.timeout, method, request, reply);
  }

  // For what may take longer than a question.
  template <typename Request, typename Reply>
  absl::Status CallFor(std::chrono::seconds timeout,
                       Method<Request, Reply> method, const Request& request,
                       Reply* reply) {
    return CallWithRetry(timeout, [&](grpc::ClientContext* context) {
      return (stub_.get()->*method)(context, request, reply);
    });
  }

  const std::string& server() const { return options_.server; }

 private:
  explicit Client(ClientOptions options) : options_(std::move(options)) {}
  absl::Status CallWithRetry(
      std::chrono::seconds timeout,
      const std::function<grpc::Status(grpc::ClientContext*)>& call);

  ClientOptions options_;
  std::unique_ptr<v1::OperatorService::Stub> stub_;
};

}  // namespace steadyrun::cli
