#include "server/rpc/pending_replies.h"

#include <pthread.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace steadyrun {
namespace {

ReplyToOperator Unavailable(std::uint64_t reply_to, const char* text) {
  ReplyToOperator reply;
  reply.reply_to = reply_to;
  reply.status = absl::UnavailableError(text);
  return reply;
}

constexpr const char* kTooLate =
    "not committed in time; repeat with the same request_id";
constexpr const char* kStopping =
    "the server is stopping; repeat with the same request_id";

}  // namespace

PendingReplies::PendingReplies(const Clock* clock, Duration deadline)
    : clock_(clock), deadline_(deadline), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "sr-replies");
}

PendingReplies::~PendingReplies() {
  Close();
  thread_.join();
}

void PendingReplies::Close() {
  std::map<std::uint64_t, Waiting> waiting;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    waiting.swap(waiting_);
  }
  for (const auto& [id, caller] : waiting) {
    caller.done(Unavailable(id, kStopping));
  }
}

std::uint64_t PendingReplies::Add(Done done) {
  const MonoTime deadline = clock_->MonoNow() + deadline_;
  absl::MutexLock lock(&mutex_);
  if (stopping_ || waiting_.size() >= kMaxWaiting) return 0;
  waiting_.emplace(++last_, Waiting{deadline, std::move(done)});
  return last_;
}

void PendingReplies::Execute(const ReplyToOperator& effect) {
  Done done;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = waiting_.find(effect.reply_to);
    if (it == waiting_.end()) return;
    done = std::move(it->second.done);
    waiting_.erase(it);
  }
  done(effect);
}

bool PendingReplies::Forget(std::uint64_t reply_to) {
  absl::MutexLock lock(&mutex_);
  return waiting_.erase(reply_to) != 0;
}

void PendingReplies::Run() {
  for (;;) {
    std::vector<std::pair<std::uint64_t, Done>> late;
    {
      absl::MutexLock lock(&mutex_);
      const auto stopping = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_;
      };
      // All have the same time to wait, so a fixed pace is fine enough.
      mutex_.AwaitWithTimeout(
          absl::Condition(&stopping),
          std::min(absl::FromChrono(deadline_) / 10, absl::Seconds(1)));
      if (stopping_) return;
      const MonoTime now = clock_->MonoNow();
      for (auto it = waiting_.begin(); it != waiting_.end();) {
        if (it->second.deadline > now) {
          ++it;
          continue;
        }
        late.emplace_back(it->first, std::move(it->second.done));
        it = waiting_.erase(it);
      }
    }
    for (const auto& [id, done] : late) done(Unavailable(id, kTooLate));
  }
}

}  // namespace steadyrun
