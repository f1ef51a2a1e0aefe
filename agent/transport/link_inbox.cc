#include "agent/transport/link_inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"

namespace steadyrun::agent {

LinkInbox::LinkInbox(std::size_t max_messages)
    : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      max_messages_(max_messages) {
  SR_CHECK(fd_ >= 0);
}

LinkInbox::~LinkInbox() { ::close(fd_); }

bool LinkInbox::Push(std::uint64_t stream, LinkEvent event) {
  {
    absl::MutexLock lock(&mutex_);
    if (std::holds_alternative<LinkMessage>(event)) {
      if (messages_ >= max_messages_) return false;
      ++messages_;
    }
    items_.push_back({stream, std::move(event)});
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd_, &one, sizeof one);
  return true;
}

std::deque<LinkInbox::Item> LinkInbox::Take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(fd_, &count, sizeof count);
  absl::MutexLock lock(&mutex_);
  messages_ = 0;
  return std::exchange(items_, {});
}

}  // namespace steadyrun::agent
