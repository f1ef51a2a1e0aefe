#include "agent/supervisor/process_handle.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace steadyrun::agent {
namespace {

int OpenPidfd(std::int32_t pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

}  // namespace

std::optional<ProcessHandle> ProcessHandle::Open(const ProcessTable& table,
                                                 std::int32_t pid,
                                                 std::uint64_t start_ticks) {
  if (pid <= 1) return std::nullopt;
  ProcessHandle handle(OpenPidfd(pid));
  if (!handle.IsOpen()) return std::nullopt;
  // After the open: were the pid reused in between, the time would differ.
  const auto stat = table.Stat(pid);
  if (!stat.ok() || stat->start_ticks != start_ticks) return std::nullopt;
  return handle;
}

std::optional<ProcessHandle> ProcessHandle::OpenChild(std::int32_t pid) {
  ProcessHandle handle(OpenPidfd(pid));
  if (!handle.IsOpen()) return std::nullopt;
  return handle;
}

ProcessHandle::~ProcessHandle() { Close(); }

void ProcessHandle::Close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool ProcessHandle::HasEnded() const {
  pollfd entry{fd_, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&entry, 1, 0);
  } while (ready < 0 && errno == EINTR);
  return ready == 1 && (entry.revents & POLLIN) != 0;
}

bool ProcessHandle::Signal(int signal) const {
  return ::syscall(SYS_pidfd_send_signal, fd_, signal, nullptr, 0) == 0;
}

bool ProcessHandle::SignalWithValue(int signal, std::uint64_t value) const {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  return ::syscall(SYS_pidfd_send_signal, fd_, signal, &info, 0) == 0;
}

}  // namespace steadyrun::agent
