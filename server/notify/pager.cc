#include "server/notify/pager.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/backoff.h"
#include "base/digest.h"
#include "base/logging.h"
#include "server/notify/page_text.h"
#include "spdlog/fmt/fmt.h"

extern char** environ;

namespace steadyrun {
namespace {

// A page an hour is many; this many waiting means that the sink is dead.
constexpr std::size_t kMaxWaiting = 256;

std::size_t Discard(char*, std::size_t size, std::size_t count, void*) {
  return size * count;
}

absl::Status PostPage(const Page& page, const PagerOptions& options) {
  CURL* curl = ::curl_easy_init();
  if (curl == nullptr) return absl::InternalError("curl_easy_init failed");
  const std::string body = PageJson(page);
  curl_slist* headers =
      ::curl_slist_append(nullptr, "Content-Type: application/json");
  const long timeout_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(options.timeout)
          .count();
  ::curl_easy_setopt(curl, CURLOPT_URL, options.webhook_url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
  ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  ::curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.c_str());
  ::curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE,
                     static_cast<long>(body.size()));
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Discard);
  const CURLcode code = ::curl_easy_perform(curl);
  long http_status = 0;
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_status);
  ::curl_slist_free_all(headers);
  ::curl_easy_cleanup(curl);
  if (code != CURLE_OK)
    return absl::UnavailableError(::curl_easy_strerror(code));
  if (http_status < 200 || http_status >= 300) {
    return absl::UnavailableError(fmt::format("HTTP status {}", http_status));
  }
  return absl::OkStatus();
}

std::vector<std::string> EnvironmentFor(const Page& page) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    variables.emplace_back(*entry);
  }
  variables.push_back("STEADYRUN_PAGE_RUN=" + page.run);
  variables.push_back(fmt::format("STEADYRUN_PAGE_INCIDENT={}", page.incident));
  variables.push_back("STEADYRUN_PAGE_TEXT=" + page.text);
  return variables;
}

std::vector<char*> Pointers(std::vector<std::string>* words) {
  std::vector<char*> pointers;
  for (std::string& word : *words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Waits for `pid`, and kills its process group once `timeout` has passed.
absl::Status WaitFor(pid_t pid, Duration timeout) {
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  bool is_late = false;
  if (fd >= 0) {
    pollfd waiting{fd, POLLIN, 0};
    const auto ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
    is_late = ::poll(&waiting, 1, static_cast<int>(ms)) == 0;
    ::close(fd);
  }
  if (is_late) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (is_late) return absl::DeadlineExceededError("took too long, was killed");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::UnavailableError(
      WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                        : fmt::format("signal {}", WTERMSIG(status)));
}

absl::Status RunCommand(const Page& page, const PagerOptions& options) {
  std::vector<std::string> words = options.command;
  std::vector<std::string> variables = EnvironmentFor(page);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  // A group of its own, so that it can be ended with what it started; and
  // none of the signals this program may block.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error =
      ::posix_spawnp(&pid, words[0].c_str(), &actions, &attributes,
                     Pointers(&words).data(), Pointers(&variables).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::UnavailableError(
        fmt::format("cannot run '{}': {}", words[0], std::strerror(error)));
  }
  return WaitFor(pid, options.timeout);
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
    ::curl_global_init(CURL_GLOBAL_DEFAULT);
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
