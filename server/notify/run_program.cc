#include "server/notify/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "spdlog/fmt/fmt.h"

extern char** environ;

namespace steadyrun {
namespace {

std::vector<std::string> Environment(const std::vector<std::string>& added) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    variables.emplace_back(*entry);
  }
  variables.insert(variables.end(), added.begin(), added.end());
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

// The reading end of a pipe that holds `input`, or -1.
int PipeWith(const std::string& input) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return -1;
  const std::size_t size = std::min(input.size(), kMaxInput);
  // Fits the pipe's buffer: blocks for nobody.
  const bool is_written =
      ::write(ends[1], input.data(), size) == static_cast<ssize_t>(size);
  ::close(ends[1]);
  if (is_written) return ends[0];
  ::close(ends[0]);
  return -1;
}

}  // namespace

absl::Status RunProgram(const std::vector<std::string>& arguments,
                        const std::vector<std::string>& variables,
                        Duration timeout, const std::string& input) {
  std::vector<std::string> words = arguments;
  std::vector<std::string> environment = Environment(variables);
  const int in = PipeWith(input);
  if (in < 0) return absl::UnavailableError("cannot make a pipe");
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in, 0);
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
                     Pointers(&words).data(), Pointers(&environment).data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in);
  if (error != 0) {
    return absl::UnavailableError(
        fmt::format("cannot run '{}': {}", words[0], std::strerror(error)));
  }
  return WaitFor(pid, timeout);
}

}  // namespace steadyrun
