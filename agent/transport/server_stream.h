#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "agent/transport/link_inbox.h"
#include "steadyrun/v1/agent.grpc.pb.h"

namespace steadyrun::agent {

// One stream to the server. gRPC calls the On* methods on its threads; the
// loop calls the rest. Holds itself until gRPC is done with it. One message
// is under way at a time, so that nothing piles up inside gRPC.
class ServerStream final
    : public grpc::ClientBidiReactor<v1::AgentMessage, v1::ServerMessage> {
 public:
  static std::shared_ptr<ServerStream> Open(v1::AgentService::Stub* stub,
                                            std::uint64_t id,
                                            std::shared_ptr<LinkInbox> inbox);

  bool CanWrite() ABSL_LOCKS_EXCLUDED(mutex_);
  // Requires: CanWrite().
  void Write(v1::AgentMessage message) ABSL_LOCKS_EXCLUDED(mutex_);
  void Cancel() { context_.TryCancel(); }
  // Waits until gRPC has let go of it.
  bool WaitUntilDone(absl::Duration timeout) {
    return done_.WaitForNotificationWithTimeout(timeout);
  }

  std::uint64_t id() const { return id_; }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  ServerStream(std::uint64_t id, std::shared_ptr<LinkInbox> inbox)
      : id_(id), inbox_(std::move(inbox)) {}
  void Fail(absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::uint64_t id_;
  const std::shared_ptr<LinkInbox> inbox_;
  std::shared_ptr<ServerStream> self_;  // Until OnDone.
  grpc::ClientContext context_;
  v1::ServerMessage incoming_;
  v1::AgentMessage outgoing_;
  absl::Notification done_;
  absl::Mutex mutex_;
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_broken_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace steadyrun::agent
