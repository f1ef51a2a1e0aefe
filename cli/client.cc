#include "cli/client.h"

#include <algorithm>
#include <thread>

#include "absl/status/statusor.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {

absl::StatusOr<Client> Client::Connect(const ClientOptions& options) {
  Client client(options);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetMaxReceiveMessageSize(64 << 20);  // A long run's report.
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (options.ca_file.empty()) {
    credentials = grpc::InsecureChannelCredentials();
  } else {
    grpc::SslCredentialsOptions tls;
    ASSIGN_OR_RETURN(tls.pem_root_certs, ReadFile(options.ca_file));
    credentials = grpc::SslCredentials(tls);
  }
  client.stub_ = v1::OperatorService::NewStub(
      grpc::CreateCustomChannel(options.server, credentials, arguments));
  return client;
}

absl::Status Client::CallWithRetry(
    std::chrono::seconds timeout,
    const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + timeout;
  for (;;) {
    grpc::ClientContext context;
    context.set_deadline(
        std::chrono::system_clock::now() +
        std::max(deadline - steady_clock::now(),
                 steady_clock::duration(std::chrono::milliseconds(100))));
    if (!options_.token.empty()) {
      context.AddMetadata("authorization", "Bearer " + options_.token);
    }
    const grpc::Status status = call(&context);
    if (status.ok()) return absl::OkStatus();
    const bool may_retry = status.error_code() == grpc::UNAVAILABLE;
    if (!may_retry || steady_clock::now() >= deadline) {
      if (may_retry || status.error_code() == grpc::DEADLINE_EXCEEDED) {
        return absl::UnavailableError(fmt::format(
            "no answer from the server at {}: {}. Is steadyrun-server "
            "running there? Name another with --server or STEADYRUN_SERVER.",
            options_.server, status.error_message()));
      }
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    }
    // The wait of a retry, bounded by the deadline above.
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace steadyrun::cli
