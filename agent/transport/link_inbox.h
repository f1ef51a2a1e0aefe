#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// What a stream to the server has to tell the agent's loop.
struct LinkMessage {
  std::optional<Welcome> welcome;
  ReportSeq ack;  // 0: none.
  std::vector<Command> commands;
  std::vector<std::string> malformed;  // Commands that could not be read.
};
struct LinkWritten {};  // The message under way has left: the next may go.
struct LinkClosed {
  absl::Status status;
};
using LinkEvent = std::variant<LinkMessage, LinkWritten, LinkClosed>;

// From gRPC's threads to the loop: a bounded queue and a file descriptor that
// is readable when it is not empty. Thread-safe.
class LinkInbox {
 public:
  // A server that sends more to one agent in one turn of its loop is out of
  // its mind.
  static constexpr std::size_t kMaxMessages = 256;
  // `max_messages`: more where many streams share it.
  explicit LinkInbox(std::size_t max_messages = kMaxMessages);
  ~LinkInbox();
  LinkInbox(const LinkInbox&) = delete;
  LinkInbox& operator=(const LinkInbox&) = delete;

  // False when full: a message is lost, which the server makes good by
  // sending its commands again. Ends and written notes always fit.
  bool Push(std::uint64_t stream, LinkEvent event);
  struct Item {
    std::uint64_t stream = 0;
    LinkEvent event;
  };
  std::deque<Item> Take();
  int fd() const { return fd_; }

 private:
  const int fd_;
  const std::size_t max_messages_;
  absl::Mutex mutex_;
  std::deque<Item> items_ ABSL_GUARDED_BY(mutex_);
  std::size_t messages_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace steadyrun::agent
