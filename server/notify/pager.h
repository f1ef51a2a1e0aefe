#pragma once

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

// Tells people. Every page is at least an error line in the log; sinks are
// tried on a thread of the pager's own. Thread-safe; never blocks the caller.
class Pager {
 public:
  explicit Pager(PagerOptions options);
  ~Pager();  // Tries each waiting page once more, briefly.
  void Execute(const Page& effect);

  struct SinkCounts {
    std::string sink;  // "command", "webhook"
    PagerCounts counts;
  };
  std::vector<SinkCounts> Counts() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun
