#include "server/notify/pager.h"

#include <pthread.h>

#include <atomic>
#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "base/digest.h"
#include "base/logging.h"
#include "server/notify/http_post.h"
#include "server/notify/page_text.h"
#include "server/notify/run_program.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// A page an hour is many; this many waiting means that the sink is dead.
constexpr std::size_t kMaxWaiting = 256;

absl::Status PostPage(const Page& page, const PagerOptions& options) {
  HttpPostRequest request;
  request.url = options.webhook_url;
  request.body = PageJson(page);
  request.timeout = options.timeout;
  return HttpPost(request);
}

absl::Status RunCommand(const Page& page, const PagerOptions& options) {
  return RunProgram(options.command,
                    {"STEADYRUN_PAGE_RUN=" + page.run,
                     fmt::format("STEADYRUN_PAGE_INCIDENT={}", page.incident),
                     "STEADYRUN_PAGE_TEXT=" + page.text},
                    options.timeout);
}

}  // namespace

// One way out, with a queue and a thread of its own: a dead webhook does not
// hold back the command.
class Pager::Sink {
 public:
  using Deliver = absl::Status (*)(const Page&, const PagerOptions&);

  Sink(std::string name, Deliver deliver, const PagerOptions& options)
      : name_(std::move(name)),
        deliver_(deliver),
        options_(options),
        thread_([this] { Run(); }) {
    pthread_setname_np(thread_.native_handle(), ("sr-" + name_).c_str());
  }

  ~Sink() {
    {
      absl::MutexLock lock(&mutex_);
      is_stopping_ = true;
    }
    thread_.join();
  }

  void Push(const Page& page) {
    absl::MutexLock lock(&mutex_);
    if (waiting_.size() >= kMaxWaiting) {
      ++counts_.dropped;
      return;
    }
    waiting_.push_back(page);
  }

  bool Flush(Duration timeout) const {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(this, &Sink::IsIdle),
                                   absl::FromChrono(timeout));
  }

  SinkCounts Counts() const {
    absl::MutexLock lock(&mutex_);
    return {name_, counts_};
  }

 private:
  void Run() {
    for (;;) {
      Page page;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(this, &Sink::HasWork));
        if (waiting_.empty()) return;
        page = waiting_.front();
      }
      const bool delivered = DeliverWithRetries(page);
      absl::MutexLock lock(&mutex_);
      waiting_.pop_front();
      ++(delivered ? counts_.delivered : counts_.failed);
      if (is_stopping_ && !delivered) {
        // The sink is dead; trying it for each page would hold up the end.
        counts_.failed += waiting_.size();
        return;
      }
    }
  }

  bool DeliverWithRetries(const Page& page) {
    constexpr BackoffOptions kBackoff{std::chrono::seconds(1),
                                      std::chrono::seconds(60), 3.0};
    for (int attempt = 1;; ++attempt) {
      const absl::Status status = deliver_(page, options_);
      if (status.ok()) return true;
      spdlog::warn("page not delivered {} {} {}", Kv("sink", name_),
                   Kv("attempt", std::to_string(attempt)),
                   Kv("reason", std::string(status.message())));
      if (attempt >= options_.attempts) return false;
      const Duration delay = BackoffDelay(kBackoff, attempt - 1, RandomU64());
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&is_stopping_),
                              absl::FromChrono(delay));
      if (is_stopping_) return false;
    }
  }

  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return is_stopping_ || !waiting_.empty();
  }

  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return waiting_.empty();
  }

  const std::string name_;
  const Deliver deliver_;
  const PagerOptions options_;
  mutable absl::Mutex mutex_;
  std::deque<Page> waiting_ ABSL_GUARDED_BY(mutex_);
  PagerCounts counts_ ABSL_GUARDED_BY(mutex_);
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

Pager::Pager(const PagerOptions& options) {
  if (!options.command.empty()) {
    sinks_.push_back(std::make_unique<Sink>("command", &RunCommand, options));
  }
  if (!options.webhook_url.empty()) {
    sinks_.push_back(std::make_unique<Sink>("webhook", &PostPage, options));
  }
}

Pager::~Pager() = default;

void Pager::Execute(const Page& page) {
  ++logged_;
  spdlog::error("page {} {} {}", Kv("run", page.run),
                Kv("incident", std::to_string(page.incident)),
                Kv("text", page.text));
  for (const auto& sink : sinks_) sink->Push(page);
}

bool Pager::Flush(Duration timeout) const {
  for (const auto& sink : sinks_) {
    if (!sink->Flush(timeout)) return false;
  }
  return true;
}

std::vector<Pager::SinkCounts> Pager::Counts() const {
  std::vector<SinkCounts> counts;
  counts.push_back({"log", {logged_.load(), 0, 0}});
  for (const auto& sink : sinks_) counts.push_back(sink->Counts());
  return counts;
}

}  // namespace steadyrun
