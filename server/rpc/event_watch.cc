#include "server/rpc/event_watch.h"

#include <pthread.h>

#include <deque>
#include <utility>

#include "proto/messages/checks.h"
#include "server/rpc/operator_convert.h"
#include "server/rpc/status_convert.h"

namespace steadyrun {
namespace {

constexpr std::int32_t kBatch = 64;
// In case that nobody calls Wake(): a bound on how late an event comes.
constexpr absl::Duration kLook = absl::Seconds(1);

grpc::Status CheckRequest(const v1::WatchEventsRequest& request) {
  absl::Status status =
      checks::InRange("after_seq", request.after_seq(), 0, INT64_MAX);
  if (status.ok() && !request.run().empty()) {
    status = checks::Name("run", request.run());
  }
  return ToGrpc(status);
}

// Ends a call that was never taken.
class Refusal final : public EventWatch::Reactor {
 public:
  explicit Refusal(grpc::Status status) { Finish(std::move(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

// Written to by one thread at a time: the hub's while idle, gRPC's while a
// write is under way.
class EventWatch::Watcher final : public Reactor {
 public:
  Watcher(EventWatch* hub, const v1::WatchEventsRequest& request)
      : hub_(hub), run_(request.run()), after_(request.after_seq()) {
    // Also before there is an event, so that the caller sees it is heard.
    StartSendInitialMetadata();
  }

  // What to read for it now; nothing while it has enough to write.
  bool WantsMore(EventQuery* query) {
    absl::MutexLock lock(&mutex_);
    if (is_finished_ || is_writing_) return false;
    *query = {after_, run_, kBatch};
    return true;
  }

  void Offer(const std::vector<StoredEvent>& events) {
    absl::MutexLock lock(&mutex_);
    for (const StoredEvent& event : events) {
      after_ = event.seq;
      WriteEvent(event, &waiting_.emplace_back());
    }
    WriteNext();
  }

  void End(const grpc::Status& status) {
    absl::MutexLock lock(&mutex_);
    EndLocked(status);
  }

  void OnWriteDone(bool ok) override {
    bool is_idle = false;
    {
      absl::MutexLock lock(&mutex_);
      is_writing_ = false;
      if (!ok) EndLocked(grpc::Status::CANCELLED);
      WriteNext();
      is_idle = !is_writing_ && !is_finished_;
    }
    if (is_idle) hub_->Wake();
  }

  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override { hub_->Remove(this); }

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (is_finished_ || is_writing_ || waiting_.empty()) return;
    current_.Swap(&waiting_.front());
    waiting_.pop_front();
    is_writing_ = true;
    StartWrite(&current_);
  }

  void EndLocked(const grpc::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (is_finished_) return;
    is_finished_ = true;
    Finish(status);
  }

  EventWatch* const hub_;
  const std::string run_;
  absl::Mutex mutex_;
  std::int64_t after_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::Event> waiting_ ABSL_GUARDED_BY(mutex_);
  v1::Event current_;  // gRPC's while is_writing_.
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
};

EventWatch::EventWatch(EventLog* log) : log_(log) {
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "sr-events");
}

EventWatch::~EventWatch() { Close(); }

EventWatch::Reactor* EventWatch::Refuse(grpc::Status status) {
  return new Refusal(std::move(status));
}

EventWatch::Reactor* EventWatch::Watch(const v1::WatchEventsRequest& request) {
  if (grpc::Status status = CheckRequest(request); !status.ok()) {
    return new Refusal(std::move(status));
  }
  auto watcher = std::make_shared<Watcher>(this, request);
  absl::MutexLock lock(&mutex_);
  if (is_closed_) {
    return new Refusal(
        {grpc::StatusCode::UNAVAILABLE, "the server is stopping"});
  }
  if (watchers_.size() >= kMaxWatchers) {
    return new Refusal({grpc::StatusCode::RESOURCE_EXHAUSTED,
                        "too many watchers: end one, or use ListEvents"});
  }
  watchers_.push_back(watcher);
  is_woken_ = true;
  return watcher.get();
}

void EventWatch::Wake() {
  absl::MutexLock lock(&mutex_);
  is_woken_ = true;
}

void EventWatch::Close() {
  std::vector<std::shared_ptr<Watcher>> watchers;
  {
    absl::MutexLock lock(&mutex_);
    is_closed_ = true;
    watchers = watchers_;
  }
  for (const auto& watcher : watchers) {
    watcher->End({grpc::StatusCode::UNAVAILABLE, "the server is stopping"});
  }
  if (thread_.joinable()) thread_.join();
}

// Keeps the watcher alive until here; the hub's thread may hold it a little
// longer, and finds it finished.
void EventWatch::Remove(const Watcher* watcher) {
  std::shared_ptr<Watcher> last;
  absl::MutexLock lock(&mutex_);
  for (auto it = watchers_.begin(); it != watchers_.end(); ++it) {
    if (it->get() != watcher) continue;
    last = std::move(*it);
    watchers_.erase(it);
    return;
  }
}

void EventWatch::Run() {
  for (;;) {
    std::vector<std::shared_ptr<Watcher>> watchers;
    {
      absl::MutexLock lock(&mutex_);
      const auto is_due = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return is_woken_ || is_closed_;
      };
      mutex_.AwaitWithTimeout(absl::Condition(&is_due), kLook);
      if (is_closed_) return;
      is_woken_ = false;
      watchers = watchers_;
    }
    if (!watchers.empty()) Serve(watchers);
  }
}

void EventWatch::Serve(const std::vector<std::shared_ptr<Watcher>>& watchers) {
  const absl::StatusOr<std::int64_t> newest = log_->NewestEvent();
  for (const auto& watcher : watchers) {
    EventQuery query;
    if (!watcher->WantsMore(&query)) continue;
    if (newest.ok() && query.after >= *newest) continue;
    const auto events = log_->Events(query);
    if (!events.ok()) {
      watcher->End(ToGrpc(events.status()));
    } else if (!events->empty()) {
      watcher->Offer(*events);
    }
  }
}

}  // namespace steadyrun
