#include "server/rpc/session_registry.h"

#include <utility>

namespace steadyrun {
namespace {

// Twice the agents the service is made for; each costs about 36 KB.
constexpr std::size_t kMaxSessions = 25'000;
constexpr Duration kCheckInterval = std::chrono::seconds(2);

}  // namespace

SessionRegistry::SessionRegistry(EventSink* sink, const Clock* clock)
    : sink_(sink), clock_(clock) {}

std::shared_ptr<AgentSession> SessionRegistry::Find(SessionId id) const {
  absl::MutexLock lock(&mutex_);
  const auto it = sessions_.find(id);
  return it == sessions_.end() ? nullptr : it->second;
}

void SessionRegistry::Execute(SendWelcome effect) {
  if (const auto session = Find(effect.session)) {
    session->Send(std::move(effect.welcome));
  }
}

void SessionRegistry::Execute(SendCommand effect) {
  if (const auto session = Find(effect.session)) {
    session->Send(std::move(effect.command));
  }
}

void SessionRegistry::Execute(AckReports effect) {
  if (const auto session = Find(effect.session)) session->Ack(effect.seq);
}

void SessionRegistry::Execute(const CloseSession& effect) {
  if (const auto session = Find(effect.session)) {
    session->Close(effect.status);
  }
}

void SessionRegistry::Tick() {
  HandOverEnded();
  const MonoTime now = clock_->MonoNow();
  std::vector<std::shared_ptr<AgentSession>> sessions;
  {
    absl::MutexLock lock(&mutex_);
    if (now < next_check_) return;
    next_check_ = now + kCheckInterval;
    sessions.reserve(sessions_.size());
    for (const auto& [id, session] : sessions_) sessions.push_back(session);
  }
  for (const auto& session : sessions) session->CheckDeadlines(now);
}

void SessionRegistry::CloseAll(const absl::Status& status) {
  std::vector<std::shared_ptr<AgentSession>> sessions;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    for (const auto& [id, session] : sessions_) sessions.push_back(session);
  }
  for (const auto& session : sessions) session->Close(status);
}

std::size_t SessionRegistry::Size() const {
  absl::MutexLock lock(&mutex_);
  return sessions_.size();
}

SessionId SessionRegistry::Add(std::shared_ptr<AgentSession> session) {
  absl::MutexLock lock(&mutex_);
  if (closed_ || sessions_.size() >= kMaxSessions) return SessionId{0};
  last_id_ = last_id_.Next();
  sessions_.emplace(last_id_, std::move(session));
  return last_id_;
}

void SessionRegistry::Remove(SessionId id, bool was_announced,
                             std::string reason) {
  {
    absl::MutexLock lock(&mutex_);
    if (sessions_.erase(id) == 0) return;
    if (was_announced) ended_.push_back({id, std::move(reason)});
  }
  HandOverEnded();
}

void SessionRegistry::HandOverEnded() {
  // Under the lock, so that no end is pushed twice; the sink never blocks.
  absl::MutexLock lock(&mutex_);
  std::size_t done = 0;
  while (done < ended_.size() && sink_->TryPush(ended_[done])) ++done;
  ended_.erase(ended_.begin(),
               ended_.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace steadyrun
