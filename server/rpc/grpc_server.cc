#include "server/rpc/grpc_server.h"

#include <arpa/inet.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstring>

#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// A step block of 64 ranks is 4 KiB; a whole batch of the agent 256 KiB.
constexpr int kMaxMessageBytes = 1 << 20;
constexpr int kMaxMetadataBytes = 16 << 10;
constexpr int kMaxStreamsPerConnection = 256;

// gRPC only says that it could not bind: ask the system itself for the reason.
std::string BindReason(const HostPort& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(
      where.host.c_str(), std::to_string(where.port).c_str(), &hints, &found);
  if (error != 0) return ::gai_strerror(error);
  std::string reason = "unknown reason";
  const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) {
    const int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (::bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
      reason = std::strerror(errno);
    }
    ::close(fd);
  }
  ::freeaddrinfo(found);
  return reason;
}

void Tune(grpc::ServerBuilder* builder) {
  // The probe grows the receive window of a busy stream to hundreds of MB and
  // costs a quarter of a message.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  // Agents' heartbeats tell what keepalive would, without a timer each.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, INT_MAX);
  // Agents may ping: the server shall not take it for an attack.
  builder->AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Two servers on one port would each get half of the agents.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              kMaxStreamsPerConnection);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  builder->SetMaxReceiveMessageSize(kMaxMessageBytes);
}

}  // namespace

void ApplyGrpcProcessSettings() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Each agent is a descriptor, and gRPC stops accepting for good once it has
  // run out of them.
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const GrpcServerOptions& options,
    const std::vector<grpc::Service*>& services) {
  ApplyGrpcProcessSettings();
  RETURN_IF_ERROR(CheckExposure("gRPC", options.address,
                                options.tls.IsEnabled(), options.has_tokens,
                                options.insecure));
  ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(options.address));
  ASSIGN_OR_RETURN(const auto credentials, MakeServerCredentials(options.tls));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  auto result = std::unique_ptr<GrpcServer>(new GrpcServer());
  result->host_ = where.host;
  grpc::ServerBuilder builder;
  Tune(&builder);
  builder.AddListeningPort(options.address, credentials, &result->port_);
  for (grpc::Service* service : services) builder.RegisterService(service);
  result->server_ = builder.BuildAndStart();
  if (result->server_ == nullptr || result->port_ == 0) {
    return absl::UnavailableError(fmt::format(
        "cannot listen on gRPC address '{}': {}. Choose another address, or "
        "end the program that has it",
        options.address, BindReason(where)));
  }
  return result;
}

GrpcServer::~GrpcServer() { Stop(); }

std::string GrpcServer::Address() const {
  return host_.find(':') == std::string::npos
             ? fmt::format("{}:{}", host_, port_)
             : fmt::format("[{}]:{}", host_, port_);
}

void GrpcServer::SetServing(bool serving) {
  if (server_ == nullptr) return;
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void GrpcServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  server_->Wait();
  server_.reset();
}

}  // namespace steadyrun
