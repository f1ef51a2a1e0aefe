// What a report costs the real server: gRPC, detectors and SQLite included.
// Starts steadyrun-server as a process of its own in a fresh directory, so
// that its CPU time is its own, and drives it with AgentFleet.
//
//   bench_ingest SERVER_BINARY [saturated|paced|all]

#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/synchronization/mutex.h"
#include "spdlog/fmt/fmt.h"
#include "tests/bench/ingest/agent_fleet.h"

extern char** environ;

namespace steadyrun::bench {
namespace {

// A port that nobody listens on now.
int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), length);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(fd);
  return ntohs(address.sin_port);
}

// A server process with its own directory, ended and removed at the end.
class ServerProcess {
 public:
  explicit ServerProcess(const std::string& binary) {
    char directory[] = "/tmp/steadyrun-bench-XXXXXX";
    directory_ = ::mkdtemp(directory);
    const std::string data = "--data-dir=" + directory_;
    const std::string log = "--log-file=" + directory_ + "/server.log";
    port_ = FreePort();
    const std::string grpc = fmt::format("--grpc-address=127.0.0.1:{}", port_);
    std::string arguments[] = {binary,
                               data,
                               log,
                               grpc,
                               "--http-address=127.0.0.1:0",
                               "--log-level=warn"};
    char* argv[] = {arguments[0].data(),
                    arguments[1].data(),
                    arguments[2].data(),
                    arguments[3].data(),
                    arguments[4].data(),
                    arguments[5].data(),
                    nullptr};
    ::posix_spawn(&pid_, binary.c_str(), nullptr, nullptr, argv, environ);
  }
  ~ServerProcess() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(directory_);
  }

  // host:port, or empty if nothing answers there within 20 s.
  std::string WaitForAddress() const {
    const std::string address = fmt::format("127.0.0.1:{}", port_);
    const auto channel =
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    const bool is_up = channel->WaitForConnected(
        std::chrono::system_clock::now() + std::chrono::seconds(20));
    return is_up ? address : "";
  }

  double CpuSeconds() const {
    std::ifstream stat(fmt::format("/proc/{}/stat", pid_));
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    long user = 0;
    long system = 0;
    std::sscanf(text.c_str() + text.rfind(')') + 1,
                " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user,
                &system);
    return static_cast<double>(user + system) /
           static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  double ResidentMegabytes() const {
    std::ifstream statm(fmt::format("/proc/{}/statm", pid_));
    long size = 0;
    long resident = 0;
    statm >> size >> resident;
    return static_cast<double>(resident) *
           static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1e6;
  }

 private:
  std::string directory_;
  int port_ = 0;
  pid_t pid_ = 0;
};

struct Case {
  const char* name;
  bool paced;
  FleetOptions fleet;
  double seconds;
};

int RunCase(const std::string& binary, Case test) {
  const ServerProcess server(binary);
  test.fleet.server = server.WaitForAddress();
  if (test.fleet.server.empty()) {
    std::fprintf(stderr, "%s: the server did not come up\n", test.name);
    return 1;
  }
  AgentFleet fleet(test.fleet);
  for (const absl::Status& status : {fleet.Connect(), fleet.Launch()}) {
    if (!status.ok()) {
      std::fprintf(stderr, "%s: %s\n", test.name,
                   std::string(status.message()).c_str());
      return 1;
    }
  }
  // Warm up first: caches, allocator, first checkpoints of the WAL.
  const auto drive = [&](double seconds) {
    test.paced ? fleet.RunPaced(seconds) : fleet.RunSaturated(seconds);
  };
  drive(test.seconds / 5);
  const double cpu = server.CpuSeconds();
  const std::int64_t acked = fleet.ReportsAcked();
  const auto start = std::chrono::steady_clock::now();
  drive(test.seconds);
  const double wall =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  const double used = server.CpuSeconds() - cpu;
  const auto reports = static_cast<double>(fleet.ReportsAcked() - acked);
  std::printf(
      "%-34s %9.0f reports/s  %5.1f %% of a core  %9.0f reports/core-second  "
      "%6.0f MB\n",
      test.name, reports / wall, 100 * used / wall, reports / used,
      server.ResidentMegabytes());
  return reports > 0 ? 0 : 1;
}

FleetOptions Fleet(int agents, int steps_per_message, int in_flight) {
  FleetOptions options;
  options.agents = agents;
  options.steps_per_message = steps_per_message;
  options.messages_in_flight = in_flight;
  return options;
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s SERVER_BINARY [saturated|paced|all]\n",
                 argv[0]);
    return 2;
  }
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const std::string which = argc > 2 ? argv[2] : "all";
  int failures = 0;
  if (which != "paced") {
    failures += RunCase(argv[1], {"125 agents x 8, 1 step a message", false,
                                  Fleet(125, 1, 4), 10});
    failures += RunCase(argv[1], {"125 agents x 8, 8 steps a message", false,
                                  Fleet(125, 8, 4), 10});
  }
  if (which != "saturated") {
    failures += RunCase(argv[1], {"1000 agents x 8, 1 message/s each", true,
                                  Fleet(1000, 1, 4), 20});
  }
  return failures;
}

}  // namespace
}  // namespace steadyrun::bench

int main(int argc, char** argv) { return steadyrun::bench::Main(argc, argv); }
