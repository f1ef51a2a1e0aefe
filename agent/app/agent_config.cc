#include "agent/app/agent_config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>

#include "agent/app/rendezvous_port.h"
#include "base/config_reader.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr std::int64_t kMinSpoolBytes = 1 << 20;
constexpr std::int64_t kMaxSpoolBytes = std::int64_t{1} << 40;
constexpr std::size_t kMaxAllowed = 256;

// Flags as given; what was not given changes nothing.
struct Flags {
  std::string config_file;
  std::optional<std::string> node, server, state_directory, spool, address,
      shim, recorder_root, token_file, tls_ca, tls_cert, tls_key, tls_name,
      log_level, log_file, metrics_file, metrics_listen;
  std::vector<std::string> launch_allow;
  bool is_insecure = false;
  bool show_version = false;
};

void Set(const std::optional<std::string>& from, std::string* to) {
  if (from) *to = *from;
}

absl::Status ReadToken(const std::string& path, std::string* token) {
  ASSIGN_OR_RETURN(*token, ReadFile(path, 4096));
  while (!token->empty() && std::isspace(token->back()) != 0) {
    token->pop_back();
  }
  if (token->empty()) {
    return absl::InvalidArgumentError(
        fmt::format("token file '{}' is empty", path));
  }
  return absl::OkStatus();
}

TlsFiles& Tls(AgentConfig* config) {
  if (!config->tls) config->tls.emplace();
  return *config->tls;
}

absl::Status ReadConfigFile(const std::string& path, AgentConfig* config) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  ConfigReader reader(text, path);
  reader.ReadText("agent.node", &config->node);
  reader.ReadText("agent.address", &config->address);
  reader.ReadText("agent.state_directory", &config->state_directory);
  reader.ReadText("agent.shim", &config->shim_path);
  reader.ReadText("agent.recorder_directory", &config->recorder_root);
  reader.ReadText("server.address", &config->server);
  std::string token_file;
  const bool has_token = reader.ReadText("server.token_file", &token_file);
  reader.ReadBool("server.insecure", &config->is_insecure_allowed);
  reader.ReadDuration("server.retry_min", &config->retry.initial,
                      {milliseconds(10), hours(1)});
  reader.ReadDuration("server.retry_max", &config->retry.max,
                      {milliseconds(10), hours(1)});
  TlsFiles tls;
  const bool has_tls = reader.ReadText("server.tls.ca", &tls.ca_file);
  reader.ReadText("server.tls.certificate", &tls.cert_file);
  reader.ReadText("server.tls.key", &tls.key_file);
  reader.ReadText("server.tls.server_name", &tls.server_name);
  if (has_tls) config->tls = tls;
  if (!has_tls && reader.IsSet("server.tls.certificate")) {
    reader.AddError("server.tls.certificate", "server.tls.ca is missing");
  }
  std::vector<std::string> allow;
  if (reader.ReadTextList("launch.allow", &allow, kMaxAllowed)) {
    config->launch_allow = allow;
  }
  reader.ReadText("spool.path", &config->spool_path);
  auto spool_bytes = static_cast<std::int64_t>(config->spool_max_bytes);
  reader.ReadInt("spool.max_bytes", &spool_bytes,
                 {kMinSpoolBytes, kMaxSpoolBytes});
  config->spool_max_bytes = static_cast<std::uint64_t>(spool_bytes);
  const std::vector<std::pair<std::string_view, std::string>> levels = {
      {"trace", "trace"},
      {"debug", "debug"},
      {"info", "info"},
      {"warn", "warn"},
      {"error", "error"}};
  reader.ReadChoice("log.level", &config->logging.level, levels);
  reader.ReadText("log.file", &config->logging.file);
  reader.ReadText("metrics.file", &config->metrics_file);
  reader.ReadText("metrics.listen", &config->metrics_listen);
  RETURN_IF_ERROR(reader.Finish());
  return has_token ? ReadToken(token_file, &config->token) : absl::OkStatus();
}

absl::Status ReadEnvironment(
    const std::map<std::string, std::string>& environment,
    AgentConfig* config) {
  const std::map<std::string, std::string*> names = {
      {"STEADYRUN_AGENT_NODE", &config->node},
      {"STEADYRUN_AGENT_SERVER", &config->server},
      {"STEADYRUN_AGENT_ADDRESS", &config->address},
      {"STEADYRUN_AGENT_STATE_DIR", &config->state_directory},
      {"STEADYRUN_AGENT_SPOOL", &config->spool_path},
      {"STEADYRUN_AGENT_SHIM", &config->shim_path},
      {"STEADYRUN_AGENT_TOKEN", &config->token},
      {"STEADYRUN_AGENT_LOG_LEVEL", &config->logging.level},
      {"STEADYRUN_AGENT_LOG_FILE", &config->logging.file}};
  for (const auto& [name, value] : names) {
    if (const auto it = environment.find(name); it != environment.end()) {
      *value = it->second;
    }
  }
  return absl::OkStatus();
}

absl::Status ApplyFlags(const Flags& flags, AgentConfig* config) {
  Set(flags.node, &config->node);
  Set(flags.server, &config->server);
  Set(flags.address, &config->address);
  Set(flags.state_directory, &config->state_directory);
  Set(flags.spool, &config->spool_path);
  Set(flags.shim, &config->shim_path);
  Set(flags.recorder_root, &config->recorder_root);
  Set(flags.log_level, &config->logging.level);
  Set(flags.log_file, &config->logging.file);
  Set(flags.metrics_file, &config->metrics_file);
  Set(flags.metrics_listen, &config->metrics_listen);
  if (flags.tls_ca) Tls(config).ca_file = *flags.tls_ca;
  if (flags.tls_cert) Tls(config).cert_file = *flags.tls_cert;
  if (flags.tls_key) Tls(config).key_file = *flags.tls_key;
  if (flags.tls_name) Tls(config).server_name = *flags.tls_name;
  if (!flags.launch_allow.empty()) config->launch_allow = flags.launch_allow;
  if (flags.is_insecure) config->is_insecure_allowed = true;
  if (flags.token_file) return ReadToken(*flags.token_file, &config->token);
  return absl::OkStatus();
}

void AddFlags(CLI::App* app, Flags* flags) {
  app->add_option("--config", flags->config_file,
                  "Configuration file (TOML); see agent.example.toml");
  app->add_option("--node", flags->node, "Name of this node [the host's name]");
  app->add_option("--server", flags->server,
                  "Server, HOST:PORT [127.0.0.1:7070]");
  app->add_option("--address", flags->address,
                  "Where the other nodes of a run reach this one");
  app->add_option("--state-dir", flags->state_directory,
                  "Identity, fences and rank files; one agent each");
  app->add_option("--spool", flags->spool,
                  "Database of unsent reports [spool.db in the state "
                  "directory]");
  app->add_option("--shim", flags->shim,
                  "The steadyrun-shim program [beside this one]");
  app->add_option("--recorder-dir", flags->recorder_root,
                  "Directory in memory for flight recorders");
  app->add_option("--launch-allow", flags->launch_allow,
                  "Program, or folder ending in '/', that may be launched; "
                  "may be repeated");
  app->add_option("--token-file", flags->token_file,
                  "File with this node's token");
  app->add_option("--tls-ca", flags->tls_ca,
                  "Certificate of the server's authority; turns TLS on");
  app->add_option("--tls-cert", flags->tls_cert, "This node's certificate");
  app->add_option("--tls-key", flags->tls_key, "Its key");
  app->add_option("--tls-server-name", flags->tls_name,
                  "Name in the server's certificate, if not its address");
  app->add_flag("--insecure", flags->is_insecure,
                "Allow a server on another machine without TLS");
  app->add_option("--log-level", flags->log_level,
                  "trace, debug, info, warn or error [info]");
  app->add_option("--log-file", flags->log_file, "Log file [stderr]");
  app->add_option("--metrics-file", flags->metrics_file,
                  "Write Prometheus text here every 10 s");
  app->add_option("--metrics-listen", flags->metrics_listen,
                  "IP address and port of /metrics for Prometheus [none]");
  app->add_flag("--version", flags->show_version, "Show the version and exit");
}

std::string HostName() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  const std::string full(name);
  return full.substr(0, full.find('.'));
}

std::string DefaultStateDirectory() {
  if (::geteuid() == 0) return "/var/lib/steadyrun/agent";
  if (const char* state = std::getenv("XDG_STATE_HOME")) {
    return std::string(state) + "/steadyrun/agent";
  }
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : ".") +
         "/.local/state/steadyrun/agent";
}

}  // namespace

absl::StatusOr<ParsedConfig> ParseAgentConfig(
    int argc, const char* const* argv,
    const std::map<std::string, std::string>& environment) {
  ParsedConfig parsed;
  Flags flags;
  CLI::App app(
      "Steadyrun's agent of one node: launches and watches the ranks of "
      "training runs here, reports their health to the server, and carries "
      "out its commands. Losing the server, or this agent, changes nothing "
      "for running ranks.",
      "steadyrun-agent");
  app.footer(
      "Each of node, server, address, state-dir, spool, shim, token, log-level "
      "and log-file\ncan be given as STEADYRUN_AGENT_<NAME>. Flags win over "
      "the environment, and both\nover the file.");
  AddFlags(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream text;
    ConfigAnswer answer;
    answer.exit_code = app.exit(error, text, text) == 0 ? 0 : 2;
    answer.text = text.str();
    parsed.answer = std::move(answer);
    return parsed;
  }
  if (flags.show_version) {
    parsed.answer =
        ConfigAnswer{fmt::format("steadyrun-agent {}\n", kVersion), 0};
    return parsed;
  }
  if (flags.config_file.empty()) {
    const auto it = environment.find("STEADYRUN_AGENT_CONFIG");
    if (it != environment.end()) flags.config_file = it->second;
  }
  if (!flags.config_file.empty()) {
    RETURN_IF_ERROR(ReadConfigFile(flags.config_file, &parsed.config));
  }
  RETURN_IF_ERROR(ReadEnvironment(environment, &parsed.config));
  RETURN_IF_ERROR(ApplyFlags(flags, &parsed.config));
  return parsed;
}

absl::Status CompleteConfig(AgentConfig* config) {
  namespace fs = std::filesystem;
  if (config->node.empty()) config->node = HostName();
  if (!IsValidName(config->node)) {
    return absl::InvalidArgumentError(fmt::format(
        "node name '{}' is not allowed: expected 1 to 64 of [A-Za-z0-9._-]; "
        "set --node",
        config->node));
  }
  const bool is_local = IsLoopback(config->server);
  if (config->server.find(':') == std::string::npos) {
    return absl::InvalidArgumentError(fmt::format(
        "server address '{}' has no port: expected HOST:PORT", config->server));
  }
  if (!is_local && !config->tls && !config->is_insecure_allowed) {
    return absl::InvalidArgumentError(fmt::format(
        "server {} is on another machine and TLS is off: anybody between could "
        "launch programs here; set --tls-ca, or --insecure to accept that",
        config->server));
  }
  if (!is_local && !config->launch_allow) config->launch_allow.emplace();
  if (config->retry.max < config->retry.initial) {
    return absl::InvalidArgumentError(
        "server.retry_max is less than server.retry_min");
  }
  if (config->address.empty()) {
    config->address =
        is_local ? "127.0.0.1" : LocalAddressTowards(config->server);
  }
  if (config->address.empty()) config->address = HostName();
  if (config->state_directory.empty()) {
    config->state_directory = DefaultStateDirectory();
  }
  std::error_code error;
  config->state_directory =
      fs::absolute(config->state_directory, error).lexically_normal().string();
  while (config->state_directory.ends_with('/')) {
    config->state_directory.pop_back();
  }
  if (config->spool_path.empty()) {
    config->spool_path = config->state_directory + "/spool.db";
  }
  if (config->shim_path.empty()) {
    config->shim_path =
        fs::read_symlink("/proc/self/exe", error).parent_path().string() +
        "/steadyrun-shim";
  }
  if (const auto at = config->recorder_root.find("<uid>");
      at != std::string::npos) {
    config->recorder_root.replace(at, 5, std::to_string(::geteuid()));
  }
  return absl::OkStatus();
}

}  // namespace steadyrun::agent
