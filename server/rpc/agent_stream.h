#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/agent_service.h"
#include "server/rpc/outgoing_queue.h"
#include "steadyrun/v1/agent.grpc.pb.h"

namespace steadyrun {

// AgentTrafficCounts while it is counted.
struct AgentTraffic {
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> reports_accepted{0};
  std::atomic<std::uint64_t> reports_malformed{0};
  std::atomic<std::uint64_t> reports_refused{0};
  std::atomic<std::uint64_t> commands_dropped{0};
};

// One agent's stream. Lives from Connect to OnDone, holding itself; the
// registry holds it too, so that an effect never meets a deleted stream.
// gRPC calls the On* methods, one read and one write at a time; the engine's
// thread calls the AgentSession methods. One message object a direction is
// used again and again: parsing into it allocates nothing that it had before.
class AgentStream final
    : public grpc::ServerBidiReactor<v1::AgentMessage, v1::ServerMessage>,
      public AgentSession {
 public:
  // Registers itself and reads, or ends at once if the service is closing.
  static AgentStream* Open(grpc::CallbackServerContext* context,
                           const AgentServiceBackend& backend,
                           AgentTraffic* traffic);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void Send(Welcome welcome) override;
  void Send(Command command) override;
  void Ack(ReportSeq seq) override;
  void Close(const absl::Status& status) override;
  void CheckDeadlines(MonoTime now) override;

 private:
  AgentStream(grpc::CallbackServerContext* context,
              const AgentServiceBackend& backend, AgentTraffic* traffic);

  absl::Status HandleHello();
  absl::Status HandleMessage();
  absl::Status Push(Event event);
  void ReadNext();
  void WriteIfDue(MonoTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  grpc::CallbackServerContext* const context_;
  const AgentServiceBackend backend_;
  AgentTraffic* const traffic_;
  std::shared_ptr<AgentStream> self_;  // Until OnDone.
  SessionId id_;
  const MonoTime opened_;

  // Of the reading side: used by one callback at a time.
  v1::AgentMessage incoming_;
  NodeState hello_;
  bool is_announced_ = false;

  absl::Mutex mutex_;
  v1::ServerMessage outgoing_ ABSL_GUARDED_BY(mutex_);
  OutgoingQueue queue_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_done_ ABSL_GUARDED_BY(mutex_) = false;  // context_ is gone.
  MonoTime closed_at_ ABSL_GUARDED_BY(mutex_){};
  grpc::Status final_status_ ABSL_GUARDED_BY(mutex_);
  MonoTime heard_ ABSL_GUARDED_BY(mutex_){};
  bool has_hello_ ABSL_GUARDED_BY(mutex_) = false;
  std::string end_reason_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun
