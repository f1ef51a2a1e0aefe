#include <absl/synchronization/mutex.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>

#include "agent/app/agent_config.h"
#include "agent/app/agent_loop.h"
#include "agent/app/footprint.h"
#include "agent/supervisor/rank_environment.h"
#include "base/logging.h"

namespace steadyrun::agent {
namespace {

int Fail(const absl::Status& status) {
  ::fprintf(stderr, "steadyrun-agent: %s\n",
            std::string(status.message()).c_str());
  return 1;
}

// SIGTERM, SIGINT and SIGHUP become readable; blocked for all threads, and
// unblocked again in the ranks by the shim.
int StopSignals() {
  sigset_t stop;
  ::sigemptyset(&stop);
  for (const int one : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&stop, one);
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return ::signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
}

void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

int Main(int argc, char** argv) {
  KeepHeapSmall();
  // Debian's Abseil tracks lock order in release builds, at a high price.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  auto parsed = ParseAgentConfig(argc, argv, OwnEnvironment());
  if (!parsed.ok()) return Fail(parsed.status());
  if (parsed->answer) {
    ::fputs(parsed->answer->text.c_str(),
            parsed->answer->exit_code == 0 ? stdout : stderr);
    return parsed->answer->exit_code;
  }
  AgentConfig config = std::move(parsed->config);
  if (auto status = CompleteConfig(&config); !status.ok()) return Fail(status);
  if (auto status = SetupLogging(config.logging); !status.ok()) {
    return Fail(status);
  }
  const int stop_fd = StopSignals();
  RaiseFileLimit();
  auto loop = AgentLoop::Create(std::move(config));
  if (!loop.ok()) return Fail(loop.status());
  (*loop)->Run(stop_fd);
  return 0;
}

}  // namespace
}  // namespace steadyrun::agent

int main(int argc, char** argv) { return steadyrun::agent::Main(argc, argv); }
