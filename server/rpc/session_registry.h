#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/ids.h"
#include "server/engine/effect.h"
#include "server/rpc/backend.h"

namespace steadyrun {

// The sending half of one agent's stream, as the registry sees it.
class AgentSession {
 public:
  virtual ~AgentSession() = default;
  virtual void Send(Welcome welcome) = 0;
  virtual void Send(Command command) = 0;
  virtual void Ack(ReportSeq seq) = 0;
  // Ends the stream. What is queued may be lost; later calls do nothing.
  virtual void Close(const absl::Status& status) = 0;
  // Called every few seconds: breaks off what is stuck.
  virtual void CheckDeadlines(MonoTime now) = 0;
};

// SessionId -> stream. The engine loop hands effects in, streams come and go
// on gRPC's threads. Thread-safe; never waits for a peer. An effect for a
// session that is gone is dropped: the engine hears of its end and derives
// commands again.
class SessionRegistry {
 public:
  // `sink` and `clock` outlive the registry.
  SessionRegistry(EventSink* sink, const Clock* clock);

  void Execute(SendWelcome effect);
  void Execute(SendCommand effect);
  void Execute(AckReports effect);
  void Execute(const CloseSession& effect);

  // The engine loop calls this about every kTickInterval: hands over ends of
  // sessions that a full queue had refused, and breaks off stuck streams.
  void Tick();

  // Ends every stream, for the end of the service; later ones are refused.
  void CloseAll(const absl::Status& status);

  std::size_t Size() const;

  // For streams. Add returns 0 once CloseAll was called.
  SessionId Add(std::shared_ptr<AgentSession> session);
  // Removes it; if `was_announced`, the engine is told, now or at a Tick.
  void Remove(SessionId id, bool was_announced, std::string reason);

 private:
  std::shared_ptr<AgentSession> Find(SessionId id) const;
  void HandOverEnded();

  EventSink* const sink_;
  const Clock* const clock_;
  mutable absl::Mutex mutex_;
  std::map<SessionId, std::shared_ptr<AgentSession>> sessions_
      ABSL_GUARDED_BY(mutex_);
  std::vector<AgentDisconnected> ended_ ABSL_GUARDED_BY(mutex_);
  SessionId last_id_ ABSL_GUARDED_BY(mutex_){0};
  MonoTime next_check_ ABSL_GUARDED_BY(mutex_){};
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace steadyrun
