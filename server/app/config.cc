#include "server/app/config.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <utility>

#include "base/config_reader.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "server/app/notify_config.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr ConfigRange<std::int64_t> kStepRows{100, 100'000'000};
constexpr ConfigRange<std::int32_t> kDays{1, 36'500};

// A setting of the command line or the environment, as text until then.
struct Flags {
  std::optional<std::string> config_file;
  std::optional<std::string> grpc_address;
  std::optional<std::string> http_address;
  std::optional<std::string> data_dir;
  std::optional<std::string> tls_certificate;
  std::optional<std::string> tls_key;
  std::optional<std::string> tls_client_ca;
  std::optional<std::string> tokens;
  std::optional<std::string> log_level;
  std::optional<std::string> log_file;
  std::optional<std::string> page_webhook;
  std::optional<std::int64_t> keep_step_rows;
  std::optional<std::int32_t> keep_days;
  bool insecure = false;
  bool print_version = false;
};

void Declare(Flags* flags, CLI::App* app) {
  const auto add = [&](const char* name, auto* value, const char* variable,
                       const char* help) {
    app->add_option(name, *value, help)->envname(variable);
  };
  add("-c,--config", &flags->config_file, "STEADYRUN_CONFIG",
      "configuration file, TOML; see deploy/config/server.example.toml");
  add("--grpc-address,--grpc-listen", &flags->grpc_address,
      "STEADYRUN_GRPC_ADDRESS",
      "where agents and the CLI connect [127.0.0.1:7070]");
  add("--http-address,--http-listen", &flags->http_address,
      "STEADYRUN_HTTP_ADDRESS",
      "status page, JSON and /metrics [127.0.0.1:7080]");
  add("--data-dir", &flags->data_dir, "STEADYRUN_DATA_DIR",
      "database, lock and cluster-id [$STATE_DIRECTORY or "
      "/var/lib/steadyrun]");
  add("--tls-certificate", &flags->tls_certificate, "STEADYRUN_TLS_CERTIFICATE",
      "PEM file, leaf first");
  add("--tls-key", &flags->tls_key, "STEADYRUN_TLS_KEY", "PEM file");
  add("--tls-client-ca", &flags->tls_client_ca, "STEADYRUN_TLS_CLIENT_CA",
      "PEM file; clients must show a certificate of it");
  add("--tokens", &flags->tokens, "STEADYRUN_TOKENS",
      "file of accepted tokens, a line each: role sha256 name");
  add("--log-level", &flags->log_level, "STEADYRUN_LOG_LEVEL",
      "trace, debug, info, warn, error [info]");
  add("--log-file", &flags->log_file, "STEADYRUN_LOG_FILE",
      "where the log goes [stderr]");
  add("--page-webhook", &flags->page_webhook, "STEADYRUN_PAGE_WEBHOOK",
      "URL to which pages are posted");
  add("--keep-step-rows", &flags->keep_step_rows, "STEADYRUN_KEEP_STEP_ROWS",
      "steps of a run whose ranks are kept in full [20000]");
  add("--keep-days", &flags->keep_days, "STEADYRUN_KEEP_DAYS",
      "days that decisions and rank failures are kept [90]");
  app->add_flag("--insecure", flags->insecure,
                "listen beyond loopback without TLS and tokens: whoever "
                "reaches the port can start processes on every node")
      ->envname("STEADYRUN_INSECURE");
  app->add_flag("--version", flags->print_version, "print the version");
}

absl::Status ApplyFlags(const Flags& flags, ServerConfig* config) {
  const auto set = [](const auto& flag, auto* value) {
    if (flag) *value = *flag;
  };
  set(flags.grpc_address, &config->grpc_address);
  set(flags.http_address, &config->http_address);
  set(flags.data_dir, &config->data_dir);
  set(flags.tls_certificate, &config->tls.certificate);
  set(flags.tls_key, &config->tls.key);
  set(flags.tls_client_ca, &config->tls.client_ca);
  set(flags.tokens, &config->tokens_file);
  set(flags.log_level, &config->log.level);
  set(flags.log_file, &config->log.file);
  set(flags.page_webhook, &config->pager.webhook_url);
  set(flags.keep_step_rows, &config->keep_step_rows);
  set(flags.keep_days, &config->keep_days);
  config->insecure = config->insecure || flags.insecure;
  if (config->keep_step_rows < kStepRows.min ||
      config->keep_step_rows > kStepRows.max) {
    return absl::InvalidArgumentError(
        fmt::format("--keep-step-rows {} is not between {} and {}",
                    config->keep_step_rows, kStepRows.min, kStepRows.max));
  }
  if (config->keep_days < kDays.min || config->keep_days > kDays.max) {
    return absl::InvalidArgumentError(
        fmt::format("--keep-days {} is not between {} and {}",
                    config->keep_days, kDays.min, kDays.max));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadConfigFile(std::string_view text, const std::string& file,
                            ServerConfig* config) {
  ConfigReader reader(text, file);
  reader.ReadText("server.grpc_address", &config->grpc_address);
  reader.ReadText("server.http_address", &config->http_address);
  reader.ReadText("server.data_dir", &config->data_dir);
  reader.ReadBool("server.insecure", &config->insecure);
  reader.ReadTextList("server.allowed_hosts", &config->allowed_hosts, 64);
  reader.ReadText("tls.certificate", &config->tls.certificate);
  reader.ReadText("tls.key", &config->tls.key);
  reader.ReadText("tls.client_ca", &config->tls.client_ca);
  reader.ReadText("auth.tokens", &config->tokens_file);
  reader.ReadText("log.level", &config->log.level);
  reader.ReadText("log.file", &config->log.file);
  reader.ReadInt("retention.step_rows", &config->keep_step_rows, kStepRows);
  reader.ReadInt32("retention.days", &config->keep_days, kDays);
  reader.ReadTextList("page.command", &config->pager.command, 64);
  reader.ReadText("page.webhook", &config->pager.webhook_url);
  ReadNotifier(&reader, &config->notifier);
  return reader.Finish();
}

absl::StatusOr<CommandLine> ParseCommandLine(int argc,
                                             const char* const* argv) {
  CommandLine result;
  // Under systemd with StateDirectory=.
  if (const char* state = std::getenv("STATE_DIRECTORY")) {
    result.config.data_dir = state;
  }
  Flags flags;
  CLI::App app(
      "The central service of Steadyrun: follows training runs and keeps them "
      "on course.");
  try {
    Declare(&flags, &app);
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    result.exit_code = 0;
    result.text = app.help();
    return result;
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(fmt::format(
        "{} (steadyrun-server --help lists the flags)", error.what()));
  }
  if (flags.print_version) {
    result.exit_code = 0;
    result.text = fmt::format("steadyrun-server {}\n", kVersion);
    return result;
  }
  if (flags.config_file && !flags.config_file->empty()) {
    ASSIGN_OR_RETURN(const std::string text,
                     ReadFile(*flags.config_file, kMaxConfigBytes));
    RETURN_IF_ERROR(ReadConfigFile(text, *flags.config_file, &result.config));
  }
  RETURN_IF_ERROR(ApplyFlags(flags, &result.config));
  RETURN_IF_ERROR(CheckConfig(result.config));
  return result;
}

absl::Status CheckConfig(const ServerConfig& config) {
  if (config.data_dir.empty()) {
    return absl::InvalidArgumentError(
        "no data_dir: name a directory for the database with --data-dir");
  }
  if (config.tls.certificate.empty() != config.tls.key.empty()) {
    return absl::InvalidArgumentError(
        "TLS needs a certificate and its key: set both, or none");
  }
  const bool has_tokens = !config.tokens_file.empty();
  RETURN_IF_ERROR(CheckExposure("gRPC", config.grpc_address,
                                config.tls.IsEnabled(), has_tokens,
                                config.insecure));
  return CheckExposure("HTTP", config.http_address, config.tls.IsEnabled(),
                       has_tokens, config.insecure);
}

}  // namespace steadyrun
