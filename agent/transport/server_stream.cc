#include "agent/transport/server_stream.h"

#include <utility>

#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

absl::Status ToAbsl(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      status.error_message());
}

absl::StatusOr<LinkMessage> Read(const v1::ServerMessage& proto) {
  LinkMessage message;
  if (proto.has_welcome()) {
    auto welcome = FromProto(proto.welcome());
    if (!welcome.ok()) return welcome.status();
    message.welcome = *std::move(welcome);
  }
  message.ack = ReportSeq{proto.ack_seq()};
  for (const v1::Command& one : proto.commands()) {
    // One bad command must not take heartbeats and acknowledgements with it.
    auto command = FromProto(one);
    if (command.ok()) {
      message.commands.push_back(*std::move(command));
    } else {
      message.malformed.push_back(
          fmt::format("command {} of the server is malformed: {}",
                      one.command_id().substr(0, 200),
                      std::string(command.status().message())));
    }
  }
  return message;
}

}  // namespace

std::shared_ptr<ServerStream> ServerStream::Open(
    v1::AgentService::Stub* stub, std::uint64_t id,
    std::shared_ptr<LinkInbox> inbox) {
  std::shared_ptr<ServerStream> stream(new ServerStream(id, std::move(inbox)));
  stream->self_ = stream;
  stream->context_.set_wait_for_ready(true);
  stub->async()->Connect(&stream->context_, stream.get());
  // Writes come from outside the reactions, so that gRPC must be told that
  // the stream is not done while none is under way.
  stream->StartRead(&stream->incoming_);
  stream->AddHold();
  stream->StartCall();
  return stream;
}

bool ServerStream::CanWrite() {
  absl::MutexLock lock(&mutex_);
  return !is_writing_ && !is_broken_;
}

void ServerStream::Write(v1::AgentMessage message) {
  absl::MutexLock lock(&mutex_);
  if (is_broken_ || is_writing_) return;
  is_writing_ = true;
  outgoing_ = std::move(message);
  StartWrite(&outgoing_);
}

void ServerStream::Fail(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  if (is_broken_) return;
  is_broken_ = true;
  failure_ = std::move(status);
  // From here on no write starts, so the hold may go.
  RemoveHold();
}

void ServerStream::OnReadDone(bool ok) {
  if (!ok) {
    Fail(absl::OkStatus());
    return;
  }
  absl::StatusOr<LinkMessage> message = Read(incoming_);
  if (!message.ok()) {
    Fail(absl::InvalidArgumentError(fmt::format(
        "message of the server: {}", std::string(message.status().message()))));
    context_.TryCancel();
    return;
  }
  inbox_->Push(id_, *std::move(message));
  StartRead(&incoming_);
}

void ServerStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    is_writing_ = false;
  }
  if (ok) inbox_->Push(id_, LinkWritten{});
  // Otherwise the read fails as well and ends the stream.
}

void ServerStream::OnDone(const grpc::Status& status) {
  absl::Status end;
  {
    absl::MutexLock lock(&mutex_);
    end = failure_;
  }
  if (end.ok()) end = ToAbsl(status);
  inbox_->Push(id_, LinkClosed{std::move(end)});
  const std::shared_ptr<ServerStream> self = std::move(self_);
  done_.Notify();
}

}  // namespace steadyrun::agent
