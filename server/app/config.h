#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/logging.h"
#include "server/notify/notifier.h"
#include "server/notify/pager.h"
#include "server/rpc/credentials.h"

namespace steadyrun {

// The server's configuration. A flag wins over the environment, that over the
// file, that over the default. deploy/config/server.example.toml explains each
// key; the flags are named like the keys.
struct ServerConfig {
  std::string grpc_address = "127.0.0.1:7070";
  std::string http_address = "127.0.0.1:7080";
  std::string data_dir = "/var/lib/steadyrun";
  bool insecure = false;  // Beyond loopback without TLS and tokens.
  std::vector<std::string> allowed_hosts;

  TlsFiles tls;
  std::string tokens_file;  // Empty: no tokens.

  LoggingOptions log;

  std::int64_t keep_step_rows = 20'000;
  std::int32_t keep_days = 90;

  PagerOptions pager;
  NotifierOptions notifier;
};

// What the command line asks for.
struct CommandLine {
  ServerConfig config;
  // Set: print `text` and end with this code (--help, --version, a mistake).
  std::optional<int> exit_code;
  std::string text;
};

// `environment` is looked up with std::getenv. Errors of the file name it with
// line and column.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

// Reads the keys of `text` into `config`; `file` is for messages.
absl::Status ReadConfigFile(std::string_view text, const std::string& file,
                            ServerConfig* config);

// What can be said before anything is opened: addresses, exposure, TLS files
// that belong together.
absl::Status CheckConfig(const ServerConfig& config);

}  // namespace steadyrun
