#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/transport/server_link.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/logging.h"

namespace steadyrun::agent {

// What an agent is told by its file, environment and flags; later ones win.
struct AgentConfig {
  NodeId node;          // Default: the host name up to the first dot.
  std::string address;  // Where peers reach this node; default: by the route.
  std::string state_directory;
  std::string spool_path;  // Default: spool.db in the state directory.
  std::uint64_t spool_max_bytes = 256ull << 20;
  std::string shim_path;  // Default: steadyrun-shim beside this program.
  std::string recorder_root = "/dev/shm/steadyrun-<uid>";

  std::string server = "127.0.0.1:7070";
  std::string token;  // From a file or the environment, never a flag.
  std::optional<TlsFiles> tls;
  bool is_insecure_allowed = false;
  BackoffOptions retry{std::chrono::milliseconds(100), std::chrono::seconds(2),
                       2.0};

  // Programs that may be launched. Nothing: any, if the server is on this
  // machine, and none otherwise.
  std::optional<std::vector<std::string>> launch_allow;
  LoggingOptions logging;
  std::string metrics_listen;  // host:port of /metrics; empty: none.
  std::string metrics_file;    // Prometheus text, rewritten; empty: none.
};

// What to do instead of running: text for the user.
struct ConfigAnswer {
  std::string text;
  int exit_code = 0;
};
struct ParsedConfig {
  AgentConfig config;
  std::optional<ConfigAnswer> answer;  // --help, --version, or a wrong flag.
};

// Reads flags, STEADYRUN_AGENT_* of `environment`, and the file of --config.
// INVALID_ARGUMENT names file, line and column, or the variable or flag.
absl::StatusOr<ParsedConfig> ParseAgentConfig(
    int argc, const char* const* argv,
    const std::map<std::string, std::string>& environment);

// Rules between values, and defaults that need the machine.
absl::Status CompleteConfig(AgentConfig* config);

}  // namespace steadyrun::agent
