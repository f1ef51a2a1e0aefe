#include "server/notify/notifier.h"

#include <pthread.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "base/digest.h"
#include "base/logging.h"
#include "base/status_macros.h"
#include "server/notify/http_post.h"
#include "server/notify/notice_text.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

// Of a receiver that does not answer: soon at first, for one that restarts;
// later five minutes, which a person who mends it can wait.
constexpr BackoffOptions kBackoff{std::chrono::seconds(1),
                                  std::chrono::minutes(5), 2.0};
// Reminders, windows that end and mutes that run out are seen this late.
constexpr Duration kLook = std::chrono::seconds(10);

}  // namespace

bool NotifierOptions::IsWanted() const {
  return !alertmanager_url.empty() || !dead_man_url.empty() ||
         !MakeSinks(sinks).empty();
}

// A thread that makes passes: every `interval`, and sooner when woken or, with
// back-off, when the last one failed.
class Notifier::Worker {
 public:
  // Makes one pass; counts what it delivers with Delivered and Dropped.
  using Pass = std::function<absl::Status(Worker*)>;

  Worker(std::string name, Duration interval, Duration group_wait, Pass pass)
      : name_(std::move(name)),
        interval_(interval),
        group_wait_(group_wait),
        pass_(std::move(pass)),
        thread_([this] { Run(); }) {
    pthread_setname_np(thread_.native_handle(),
                       ("sr-" + name_).substr(0, 15).c_str());
  }

  ~Worker() {
    {
      absl::MutexLock lock(&mutex_);
      is_stopping_ = true;
    }
    thread_.join();
  }

  void Wake() {
    absl::MutexLock lock(&mutex_);
    is_woken_ = true;
  }
  void Delivered() {
    absl::MutexLock lock(&mutex_);
    ++status_.delivered;
  }
  void Dropped(const absl::Status& why) {
    spdlog::error("notification refused by its receiver {} {}",
                  Kv("sink", name_), Kv("reason", std::string(why.message())));
    absl::MutexLock lock(&mutex_);
    ++status_.dropped;
    status_.error = std::string(why.message());
  }
  bool IsStopping() const {
    absl::MutexLock lock(&mutex_);
    return is_stopping_;
  }
  SinkStatus Status() const {
    absl::MutexLock lock(&mutex_);
    SinkStatus status = status_;
    status.sink = name_;
    return status;
  }

 private:
  void Run() {
    for (int failures = 0;;) {
      const absl::Status status = pass_(this);
      failures = status.ok() ? 0 : failures + 1;
      Note(status);
      const Duration wait =
          status.ok() ? interval_
                      : BackoffDelay(kBackoff, failures - 1, RandomU64());
      // A receiver that fails is not asked again for each new incident.
      if (Sleep(wait, /*wakes=*/status.ok())) return;
    }
  }

  // True: the end.
  bool Sleep(Duration wait, bool wakes) {
    absl::MutexLock lock(&mutex_);
    const auto is_due = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return is_stopping_ || (wakes && is_woken_);
    };
    const bool was_woken = mutex_.AwaitWithTimeout(absl::Condition(&is_due),
                                                   absl::FromChrono(wait));
    if (was_woken && !is_stopping_) {
      mutex_.AwaitWithTimeout(absl::Condition(&is_stopping_),
                              absl::FromChrono(group_wait_));
    }
    is_woken_ = false;
    return is_stopping_;
  }

  void Note(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (status.ok()) {
      if (!status_.error.empty() && status_.delivered > delivered_before_) {
        spdlog::info("notifications go out again {}", Kv("sink", name_));
        status_.error.clear();
      }
      delivered_before_ = status_.delivered;
      return;
    }
    ++status_.failed;
    if (status_.error != status.message()) {
      spdlog::error("notification not delivered, trying again {} {}",
                    Kv("sink", name_),
                    Kv("reason", std::string(status.message())));
    }
    status_.error = std::string(status.message());
  }

  const std::string name_;
  const Duration interval_;
  const Duration group_wait_;
  const Pass pass_;
  mutable absl::Mutex mutex_;
  SinkStatus status_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t delivered_before_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // Last: uses the others.
};

namespace {

// All of a group's notices are told: remembers it.
absl::Status MarkTold(const NoticeSink& sink, const NoticeGroup& group,
                      WallTime now, NoticeStore* store) {
  for (const Notice& notice : group.notices) {
    if (notice.kind == NoticeKind::kPage) continue;
    RETURN_IF_ERROR(store->MarkTold(sink.Name(), notice.incident, now));
  }
  return absl::OkStatus();
}

}  // namespace

Notifier::Notifier(const NotifierOptions& options, NotifierBackend backend) {
  for (std::unique_ptr<NoticeSink>& made : MakeSinks(options.sinks)) {
    std::shared_ptr<NoticeSink> sink = std::move(made);
    // Noted before anything new is committed, so that nothing new is old news
    // to it. If the disk fails now, the first pass that works notes it.
    backend.store->Read(sink->Name(), backend.clock->WallNow())
        .status()
        .IgnoreError();
    // Pages are in one sequence: a pass that fails in the middle sends them
    // again, with what else is due.
    auto pass = [sink, backend, notice = options.notice](Worker* worker) {
      const WallTime now = backend.clock->WallNow();
      ASSIGN_OR_RETURN(const NoticeFacts facts,
                       backend.store->Read(sink->Name(), now));
      absl::Status failed;
      for (const NoticeGroup& group : PlanNotices(facts, now, notice)) {
        if (worker->IsStopping()) return absl::OkStatus();
        if (sink->IsForPaging() && !group.run.empty() &&
            !backend.is_paged(group.run)) {
          continue;
        }
        absl::Status status = sink->Deliver(group, now);
        if (absl::IsInvalidArgument(status)) {
          worker->Dropped(status);
        } else if (!status.ok()) {
          failed = std::move(status);
          break;  // The others would fail in the same way.
        } else {
          worker->Delivered();
        }
        RETURN_IF_ERROR(MarkTold(*sink, group, now, backend.store));
      }
      if (failed.ok() && !facts.pages.empty()) {
        RETURN_IF_ERROR(
            backend.store->MarkPages(sink->Name(), facts.pages.back().seq));
      }
      return failed;
    };
    workers_.push_back(std::make_unique<Worker>(
        sink->Name(), kLook, options.group_wait, std::move(pass)));
  }
  if (!options.alertmanager_url.empty()) {
    auto pass = [options, backend](Worker* worker) {
      const WallTime now = backend.clock->WallNow();
      ASSIGN_OR_RETURN(const std::vector<Incident> incidents,
                       backend.store->Incidents(now));
      HttpPostRequest request;
      request.url = options.alertmanager_url + "/api/v2/alerts";
      request.timeout = options.sinks.timeout;
      request.ca_file = options.sinks.ca_file;
      request.body =
          AlertmanagerBody(incidents, backend.halted(), now,
                           options.alertmanager_interval, options.sinks.links);
      if (request.body.empty()) return absl::OkStatus();
      RETURN_IF_ERROR(HttpPost(request));
      worker->Delivered();
      return absl::OkStatus();
    };
    workers_.push_back(
        std::make_unique<Worker>("alertmanager", options.alertmanager_interval,
                                 options.group_wait, std::move(pass)));
  }
  if (!options.dead_man_url.empty()) {
    auto pass = [options, backend](Worker* worker) {
      if (!backend.can_observe()) return absl::OkStatus();
      RETURN_IF_ERROR(HttpGet(options.dead_man_url, options.sinks.timeout,
                              options.sinks.ca_file));
      worker->Delivered();
      return absl::OkStatus();
    };
    workers_.push_back(std::make_unique<Worker>(
        "dead_man", options.dead_man_interval, Duration{}, std::move(pass)));
  }
}

Notifier::~Notifier() = default;

void Notifier::Wake() {
  for (const auto& worker : workers_) {
    if (worker->Status().sink != "dead_man") worker->Wake();
  }
}

std::vector<Notifier::SinkStatus> Notifier::Status() const {
  std::vector<SinkStatus> statuses;
  for (const auto& worker : workers_) statuses.push_back(worker->Status());
  return statuses;
}

}  // namespace steadyrun
