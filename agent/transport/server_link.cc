#include "agent/transport/server_link.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "agent/transport/server_stream.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// A refusal of before is still shown for a moment when a new try begins.
constexpr Duration kStateLag = milliseconds(50);
constexpr int kMaxReceiveBytes = 1 << 20;

int Millis(Duration duration) {
  return static_cast<int>(duration_cast<milliseconds>(duration).count());
}

grpc::ChannelArguments Arguments(const LinkOptions& options) {
  grpc::ChannelArguments arguments;
  // The bandwidth probe costs CPU and lets buffers grow to megabytes.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(options.keepalive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   Millis(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   Millis(options.connect_timeout));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   Millis(options.backoff.initial));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                   Millis(options.backoff.max));
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  // Through a proxy of the environment nothing here should ever go.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON("{}");
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  if (options.tls && !options.tls->server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls->server_name);
  }
  return arguments;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(
    const LinkOptions& options) {
  if (!options.tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  ASSIGN_OR_RETURN(ssl.pem_root_certs, ReadFile(options.tls->ca_file));
  if (!options.tls->cert_file.empty()) {
    ASSIGN_OR_RETURN(ssl.pem_cert_chain, ReadFile(options.tls->cert_file));
    ASSIGN_OR_RETURN(ssl.pem_private_key, ReadFile(options.tls->key_file));
  }
  return grpc::SslCredentials(ssl);
}

}  // namespace

// The connection, made anew when certificates may have changed.
class ServerLink::Channel {
 public:
  static absl::StatusOr<std::unique_ptr<Channel>> Make(
      const LinkOptions& options) {
    ASSIGN_OR_RETURN(auto credentials, Credentials(options));
    auto channel = std::make_unique<Channel>();
    channel->channel = grpc::CreateCustomChannel(
        options.server_address, credentials, Arguments(options));
    channel->stub = v1::AgentService::NewStub(channel->channel);
    return channel;
  }
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::AgentService::Stub> stub;
};

absl::StatusOr<std::unique_ptr<ServerLink>> ServerLink::Create(
    LinkOptions options) {
  std::unique_ptr<ServerLink> link(new ServerLink(std::move(options)));
  ASSIGN_OR_RETURN(link->channel_, Channel::Make(link->options_));
  return link;
}

ServerLink::ServerLink(LinkOptions options)
    : options_(std::move(options)), inbox_(std::make_shared<LinkInbox>()) {}

ServerLink::~ServerLink() { Stop(); }

void ServerLink::Stop() {
  is_stopped_ = true;
  if (stream_ == nullptr) return;
  stream_->Cancel();
  // gRPC ends a cancelled stream at once; its threads hold what they need.
  stream_->WaitUntilDone(absl::Seconds(5));
  stream_.reset();
}

Duration ServerLink::PollInterval() const {
  // While connecting, the state of the channel is asked for.
  return state_ == State::kConnecting ? milliseconds(20) : milliseconds(100);
}

// gRPC connects only for a call, so that there is one before there is a
// connection. It says nothing yet: the Hello shall tell of the moment when it
// can be sent.
void ServerLink::OpenStream(MonoTime now) {
  state_ = State::kConnecting;
  since_ = now;
  was_opened_ = false;
  is_welcomed_ = false;
  cancel_reason_ = absl::OkStatus();
  grpc::experimental::ChannelResetConnectionBackoff(channel_->channel.get());
  stream_ = ServerStream::Open(channel_->stub.get(), ++streams_, inbox_);
}

void ServerLink::PollConnecting(MonoTime now, std::vector<Event>* events) {
  switch (channel_->channel->GetState(/*try_to_connect=*/false)) {
    case GRPC_CHANNEL_READY:
      state_ = State::kOpen;
      since_ = now;
      was_opened_ = true;
      events->emplace_back(std::in_place_type<Opened>);
      return;
    case GRPC_CHANNEL_TRANSIENT_FAILURE:
    case GRPC_CHANNEL_SHUTDOWN:
      if (now - since_ >= kStateLag) {
        Cancel(absl::UnavailableError(
            "cannot connect: refused, or the TLS handshake failed"));
      }
      return;
    case GRPC_CHANNEL_IDLE:
    case GRPC_CHANNEL_CONNECTING:
      if (now - since_ >= options_.connect_timeout) {
        Cancel(absl::DeadlineExceededError("cannot connect: no answer"));
      }
      return;
  }
}

void ServerLink::Cancel(absl::Status status) {
  state_ = State::kClosing;
  cancel_reason_ = std::move(status);
  stream_->Cancel();
}

void ServerLink::HandleClosed(absl::Status status, MonoTime now,
                              std::uint64_t random,
                              std::vector<Event>* events) {
  if (!cancel_reason_.ok()) status = cancel_reason_;
  const bool is_lasting = absl::IsUnauthenticated(status) ||
                          absl::IsPermissionDenied(status) ||
                          absl::IsInvalidArgument(status);
  next_try_ =
      now + (is_lasting ? options_.long_backoff
                        : BackoffDelay(options_.backoff, failures_, random));
  ++failures_;
  stream_.reset();
  state_ = State::kWaiting;
  // New certificates take effect on the next try.
  if (options_.tls) {
    if (auto channel = Channel::Make(options_); channel.ok()) {
      channel_ = *std::move(channel);
    }
  }
  if (was_opened_) {
    events->emplace_back(std::in_place_type<LinkClosed>,
                         LinkClosed{std::move(status)});
  } else {
    events->emplace_back(std::in_place_type<ConnectFailed>,
                         ConnectFailed{std::move(status)});
  }
}

std::vector<ServerLink::Event> ServerLink::Poll(MonoTime now,
                                                std::uint64_t random,
                                                bool is_readable) {
  std::vector<Event> events;
  std::deque<LinkInbox::Item> items;
  if (is_readable) items = inbox_->Take();
  for (LinkInbox::Item& item : items) {
    if (stream_ == nullptr || item.stream != stream_->id()) continue;
    if (auto* message = std::get_if<LinkMessage>(&item.event)) {
      if (state_ != State::kOpen) continue;
      if (message->welcome) {
        is_welcomed_ = true;
        failures_ = 0;
      }
      events.emplace_back(std::in_place_type<LinkMessage>, std::move(*message));
    } else if (auto* closed = std::get_if<LinkClosed>(&item.event)) {
      HandleClosed(std::move(closed->status), now, random, &events);
    }
  }
  if (is_stopped_) return events;
  if (state_ == State::kWaiting && now >= next_try_) OpenStream(now);
  if (state_ == State::kConnecting) PollConnecting(now, &events);
  if (state_ == State::kOpen && !is_welcomed_ &&
      now - since_ >= options_.welcome_timeout) {
    Close("the server did not answer the Hello");
  }
  return events;
}

bool ServerLink::CanSend() const {
  return state_ == State::kOpen && stream_->CanWrite();
}

void ServerLink::SendHello(const Hello& hello) {
  v1::AgentMessage message;
  ToProto(hello, message.mutable_hello());
  if (CanSend()) stream_->Write(std::move(message));
}

void ServerLink::Send(const std::optional<NodeState>& heartbeat,
                      const std::vector<SpooledReport>& reports) {
  if (!CanSend()) return;
  v1::AgentMessage message;
  if (heartbeat) ToProto(*heartbeat, message.mutable_heartbeat());
  for (const SpooledReport& report : reports) {
    // What cannot be read back is skipped: it would be refused for ever.
    if (!message.add_reports()->ParseFromString(report.bytes)) {
      message.mutable_reports()->RemoveLast();
    }
  }
  stream_->Write(std::move(message));
}

void ServerLink::Close(std::string reason) {
  if (state_ != State::kOpen) return;
  Cancel(absl::AbortedError("closed by this agent: " + reason));
}

}  // namespace steadyrun::agent
