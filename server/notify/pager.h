#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/engine/effect.h"

namespace steadyrun {

struct PagerOptions {
  // Program and arguments; STEADYRUN_PAGE_TEXT, _RUN and _INCIDENT are in its
  // environment. Never through a shell. Empty: none.
  std::vector<std::string> command;
  // POSTed to as {"text": ...}, what Slack and its look-alikes take, with run
  // and incident beside it. Empty: none.
  std::string webhook_url;
  Duration timeout{std::chrono::seconds(10)};  // Of one attempt.
  int attempts = 5;                            // In all, with backoff between.
};

struct PagerCounts {
  std::uint64_t delivered = 0;
  std::uint64_t failed = 0;   // Given up after all attempts.
  std::uint64_t dropped = 0;  // The queue was full.
};

// Tells people. Every page is at least an error line in the log; each sink has
// a bounded queue and a thread of its own. Thread-safe; never blocks the
// caller.
class Pager {
 public:
  explicit Pager(const PagerOptions& options);
  // Tries what waits until the first failure: at most about `timeout`.
  ~Pager();
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  void Execute(const Page& page);
  // Waits until no page waits; false if some still do after `timeout`.
  bool Flush(Duration timeout) const;

  struct SinkCounts {
    std::string sink;  // "log", "command", "webhook"
    PagerCounts counts;
  };
  std::vector<SinkCounts> Counts() const;

 private:
  class Sink;
  std::vector<std::unique_ptr<Sink>> sinks_;
  std::atomic<std::uint64_t> logged_{0};
};

}  // namespace steadyrun
