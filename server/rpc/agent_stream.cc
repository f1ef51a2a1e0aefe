#include "server/rpc/agent_stream.h"

#include <utility>

#include "base/check.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "server/rpc/agent_message.h"
#include "server/rpc/status_convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// A connection must say who it is within this time.
constexpr Duration kHelloTimeout = std::chrono::seconds(10);
// A peer that vanished without a FIN (power, cable) leaves its stream open for
// ever: keepalive is off, since heartbeats say the same at no extra cost.
constexpr Duration kSilenceTimeout = std::chrono::seconds(120);
// A peer that does not read cannot be told why: it is cut after this time.
constexpr Duration kCloseTimeout = std::chrono::seconds(5);

std::string_view AuthorizationOf(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find("authorization");
  if (it == metadata.end()) return {};
  return {it->second.data(), it->second.size()};
}

}  // namespace

AgentStream* AgentStream::Open(grpc::CallbackServerContext* context,
                               const AgentServiceBackend& backend,
                               AgentTraffic* traffic) {
  auto* stream = new AgentStream(context, backend, traffic);
  stream->self_.reset(stream);
  stream->id_ = backend.registry->Add(stream->self_);
  if (stream->id_.value == 0) {
    stream->Close(absl::UnavailableError(
        "the server is stopping or has too many agents: connect again later"));
    return stream;
  }
  stream->ReadNext();
  return stream;
}

AgentStream::AgentStream(grpc::CallbackServerContext* context,
                         const AgentServiceBackend& backend,
                         AgentTraffic* traffic)
    : context_(context),
      backend_(backend),
      traffic_(traffic),
      opened_(backend.clock->MonoNow()) {
  absl::MutexLock lock(&mutex_);
  heard_ = opened_;
}

void AgentStream::ReadNext() {
  absl::MutexLock lock(&mutex_);
  if (!is_closed_) StartRead(&incoming_);
}

void AgentStream::OnReadDone(bool ok) {
  if (!ok) {
    // The peer closed its half, or the connection is gone.
    Close(absl::OkStatus());
    return;
  }
  traffic_->messages.fetch_add(1, std::memory_order_relaxed);
  const absl::Status status = is_announced_ ? HandleMessage() : HandleHello();
  if (!status.ok()) {
    spdlog::warn("agent stream refused {} {} {} {}", Kv("node", hello_.node),
                 Kv("peer", context_->peer()),
                 Kv("code", absl::StatusCodeToString(status.code())),
                 Kv("reason", std::string(status.message())));
    Close(status);
    return;
  }
  const MonoTime now = backend_.clock->MonoNow();
  {
    absl::MutexLock lock(&mutex_);
    heard_ = now;
    has_hello_ = true;
    WriteIfDue(now);  // An ack may have become due.
  }
  ReadNext();
}

absl::Status AgentStream::HandleHello() {
  ASSIGN_OR_RETURN(Hello hello, ReadHello(incoming_));
  if (backend_.tokens->IsRequired()) {
    const auto who =
        hello.token.empty()
            ? backend_.tokens->CheckHeader(AuthorizationOf(*context_),
                                           Role::kAgent)
            : backend_.tokens->CheckToken(hello.token, Role::kAgent);
    RETURN_IF_ERROR(who.status());
    if (!who->name.empty() && who->name != hello.state.node) {
      return absl::PermissionDeniedError(
          fmt::format("this token is for node '{}', the Hello names '{}'",
                      who->name, hello.state.node));
    }
  }
  hello.token.clear();  // Has done its duty; it shall not get into a dump.
  hello_ = hello.state;
  hello_.runs.clear();
  RETURN_IF_ERROR(Push(AgentConnected{id_, std::move(hello)}));
  is_announced_ = true;
  return absl::OkStatus();
}

absl::Status AgentStream::HandleMessage() {
  const auto count = static_cast<std::uint64_t>(incoming_.reports_size());
  absl::StatusOr<AgentSpeech> speech = ReadSpeech(incoming_, hello_);
  if (!speech.ok()) {
    traffic_->reports_malformed.fetch_add(1, std::memory_order_relaxed);
    return speech.status();
  }
  // Facts before the state that follows from them.
  if (count != 0) {
    const absl::Status status =
        Push(AgentReports{id_, std::move(speech->reports)});
    auto& counter =
        status.ok() ? traffic_->reports_accepted : traffic_->reports_refused;
    counter.fetch_add(count, std::memory_order_relaxed);
    RETURN_IF_ERROR(status);
  }
  if (speech->has_heartbeat) {
    return Push(AgentHeartbeat{id_, std::move(speech->heartbeat)});
  }
  return absl::OkStatus();
}

absl::Status AgentStream::Push(Event event) {
  if (backend_.sink->TryPush(std::move(event))) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "the server's queue is full: wait, connect again and send from the spool "
      "what was not acknowledged");
}

void AgentStream::Send(Welcome welcome) {
  absl::MutexLock lock(&mutex_);
  queue_.Add(std::move(welcome));
  WriteIfDue(backend_.clock->MonoNow());
}

void AgentStream::Send(Command command) {
  absl::MutexLock lock(&mutex_);
  if (!queue_.Add(std::move(command))) {
    traffic_->commands_dropped.fetch_add(1, std::memory_order_relaxed);
  }
  WriteIfDue(backend_.clock->MonoNow());
}

void AgentStream::Ack(ReportSeq seq) {
  absl::MutexLock lock(&mutex_);
  queue_.Ack(seq);
  WriteIfDue(backend_.clock->MonoNow());
}

// gRPC never runs OnWriteDone inside StartWrite, so the lock may be held.
void AgentStream::WriteIfDue(MonoTime now) {
  if (is_writing_ || is_closed_ || !queue_.IsDue(now)) return;
  queue_.Take(now, &outgoing_);
  is_writing_ = true;
  StartWrite(&outgoing_);
}

void AgentStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  const MonoTime now = backend_.clock->MonoNow();
  is_writing_ = false;
  if (is_closed_) {
    Finish(final_status_);
  } else if (ok) {
    WriteIfDue(now);
  } else {
    is_closed_ = true;
    closed_at_ = now;
    Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection lost"));
  }
}

void AgentStream::Close(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (is_closed_) return;
  is_closed_ = true;
  closed_at_ = backend_.clock->MonoNow();
  end_reason_ = status.ok() ? "stream ended by the agent or its connection"
                            : std::string(status.message());
  final_status_ = ToGrpc(status);
  if (!is_writing_) Finish(final_status_);
}

void AgentStream::OnCancel() {
  // The pending read fails and ends the stream; nothing to do here.
}

void AgentStream::CheckDeadlines(MonoTime now) {
  absl::Status overdue;
  {
    absl::MutexLock lock(&mutex_);
    if (is_closed_) {
      if (!is_done_ && now - closed_at_ >= kCloseTimeout) {
        context_->TryCancel();
      }
      return;
    }
    WriteIfDue(now);  // An ack that nothing else took along.
    if (!has_hello_ && now - opened_ >= kHelloTimeout) {
      overdue = absl::InvalidArgumentError("no Hello within 10 s");
    } else if (now - heard_ >= kSilenceTimeout) {
      overdue = absl::UnavailableError("nothing heard for 120 s");
    }
  }
  if (!overdue.ok()) Close(overdue);
}

void AgentStream::OnDone() {
  std::string reason;
  {
    absl::MutexLock lock(&mutex_);
    reason = std::move(end_reason_);
    is_done_ = true;
  }
  if (id_.value != 0) {
    backend_.registry->Remove(id_, is_announced_, std::move(reason));
  }
  const std::shared_ptr<AgentStream> last_reference = std::move(self_);
}

}  // namespace steadyrun
