// steadyrun-server: reads its configuration, runs the App until SIGTERM or
// SIGINT. Exit codes: 0 stopped, 1 could not start, 2 wrong configuration,
// 74 the disk has lost or damaged what was written.

#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/clock.h"
#include "base/logging.h"
#include "server/app/app.h"
#include "server/app/config.h"
#include "server/app/service_manager.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// True once SIGTERM or SIGINT came, which every thread has blocked.
bool WaitForStop(Duration at_most) {
  const sigset_t signals = StopSignals();
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(at_most);
  const timespec timeout{static_cast<time_t>(seconds.count()),
                         static_cast<long>((at_most - seconds).count())};
  return ::sigtimedwait(&signals, nullptr, &timeout) > 0;
}

void RunUntilStopped(const App& app) {
  const Duration watchdog = WatchdogInterval();
  const Duration wait =
      watchdog > Duration::zero() ? watchdog : Duration(std::chrono::hours(1));
  while (!WaitForStop(wait)) {
    if (app.IsHealthy()) NotifyServiceManager("WATCHDOG=1");
  }
}

int Main(int argc, char** argv) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) {
    std::fprintf(stderr, "steadyrun-server: %s\n",
                 std::string(line.status().message()).c_str());
    return kExitUsage;
  }
  if (line->exit_code) {
    std::fputs(line->text.c_str(), stdout);
    return *line->exit_code;
  }
  if (const absl::Status status = SetupLogging(line->config.log);
      !status.ok()) {
    std::fprintf(stderr, "steadyrun-server: %s\n",
                 std::string(status.message()).c_str());
    return kExitUsage;
  }
  // Before the first thread, which inherit the mask.
  const sigset_t signals = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  const SystemClock clock;
  absl::StatusOr<std::unique_ptr<App>> app =
      App::Start(line->config, &clock, WaitForStop);
  if (absl::IsCancelled(app.status())) return 0;
  if (!app.ok()) {
    spdlog::critical("cannot start {}",
                     Kv("error", std::string(app.status().message())));
    return kExitFailed;
  }
  NotifyServiceManager("READY=1");
  RunUntilStopped(**app);
  NotifyServiceManager("STOPPING=1");
  spdlog::info("stopping");
  (*app)->Stop();
  return 0;
}

}  // namespace
}  // namespace steadyrun

int main(int argc, char** argv) { return steadyrun::Main(argc, argv); }
