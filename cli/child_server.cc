#include "cli/child_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/file.h"
#include "base/status_macros.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

constexpr char kName[] = "steadyrun-server";

// A port that nobody listens on now. Taken by another program before the
// server binds it, the server says so and ends.
absl::StatusOr<int> FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  const bool is_bound = fd >= 0 && ::bind(fd, plain, length) == 0 &&
                        ::getsockname(fd, plain, &length) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (is_bound) return ntohs(address.sin_port);
  return absl::UnavailableError(
      fmt::format("no free port on 127.0.0.1: {}", std::strerror(error)));
}

absl::StatusOr<std::string> FindServer(const std::string& binary) {
  if (!binary.empty()) {
    if (::access(binary.c_str(), X_OK) == 0) return binary;
    return absl::NotFoundError(
        fmt::format("{}: {}", binary, std::strerror(errno)));
  }
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::vector<std::string> folders;
  if (!error) folders.push_back(self.parent_path().string());
  if (const char* path = ::getenv("PATH"); path != nullptr) {
    const std::string text = path;
    for (std::size_t from = 0; from <= text.size();) {
      const std::size_t to = std::min(text.find(':', from), text.size());
      if (to > from) folders.push_back(text.substr(from, to - from));
      from = to + 1;
    }
  }
  for (const std::string& folder : folders) {
    const std::string candidate = folder + "/" + kName;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(
      fmt::format("no {} beside this program or in PATH: build it, or name it "
                  "with --server-binary",
                  kName));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildServer>> ChildServer::Start(
    const std::string& binary, int http_port) {
  ASSIGN_OR_RETURN(const std::string program, FindServer(binary));
  std::unique_ptr<ChildServer> server(new ChildServer());
  ASSIGN_OR_RETURN(server->grpc_port_, FreePort());
  server->http_port_ = http_port;
  if (http_port == 0) {
    ASSIGN_OR_RETURN(server->http_port_, FreePort());
  }
  std::error_code error;
  std::string pattern =
      (std::filesystem::temp_directory_path(error) / "steadyrun-demo-XXXXXX")
          .string();
  if (error || ::mkdtemp(pattern.data()) == nullptr) {
    return absl::UnavailableError(
        fmt::format("no temporary directory: {}", std::strerror(errno)));
  }
  server->directory_ = pattern;
  std::vector<std::string> words = {
      program, "--data-dir=" + server->directory_ + "/data",
      "--log-file=" + server->directory_ + "/server.log",
      fmt::format("--grpc-address=127.0.0.1:{}", server->grpc_port_),
      fmt::format("--http-address=127.0.0.1:{}", server->http_port_)};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string output = server->directory_ + "/output";
  const pid_t parent = ::getpid();
  server->pid_ = ::fork();
  if (server->pid_ < 0) {
    return absl::UnavailableError(
        fmt::format("fork: {}", std::strerror(errno)));
  }
  if (server->pid_ == 0) {
    // Only what is safe between fork and exec. A group of its own: Ctrl-C is
    // for us, who end it after the agents.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(1);
    const int fd =
        ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ::dup2(fd, STDOUT_FILENO);
    ::dup2(fd, STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  return server;
}

ChildServer::~ChildServer() {
  if (pid_ > 0) {
    ::kill(pid_, SIGTERM);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  std::error_code error;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, error);
}

std::string ChildServer::GrpcAddress() const {
  return fmt::format("127.0.0.1:{}", grpc_port_);
}

std::string ChildServer::DashboardUrl() const {
  return fmt::format("http://127.0.0.1:{}/", http_port_);
}

absl::Status ChildServer::Check() {
  int status = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) {
    return absl::OkStatus();
  }
  pid_ = -1;
  std::string words;
  for (const char* file : {"/output", "/server.log"}) {
    const auto tail = ReadFileTail(directory_ + file, 2000);
    if (tail.ok()) words += *tail;
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return absl::AbortedError(
      fmt::format("the server ended with {} {}:\n{}",
                  WIFEXITED(status) ? "exit code" : "signal",
                  WIFEXITED(status) ? code : WTERMSIG(status), words));
}

}  // namespace steadyrun::cli
