#include "base/logging.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <memory>

namespace steadyrun {

absl::Status SetupLogging(const LoggingOptions& options) {
  const auto level = spdlog::level::from_str(options.level);
  if (level == spdlog::level::off && options.level != "off") {
    return absl::InvalidArgumentError(
        fmt::format("log level '{}' is not one of trace, debug, info, warn, "
                    "error, critical, off",
                    options.level));
  }
  std::shared_ptr<spdlog::logger> logger;
  try {
    if (options.file.empty()) {
      logger = std::make_shared<spdlog::logger>(
          "steadyrun", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    } else {
      logger = std::make_shared<spdlog::logger>(
          "steadyrun", std::make_shared<spdlog::sinks::basic_file_sink_mt>(
                           options.file, /*truncate=*/false));
    }
  } catch (const spdlog::spdlog_ex& error) {
    return absl::UnavailableError(fmt::format(
        "cannot open the log file '{}': {}", options.file, error.what()));
  }
  logger->set_level(level);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                      spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::info);
  // A failing sink (full disk) must not throw, nor print once a line.
  logger->set_error_handler([](const std::string&) {});
  spdlog::set_default_logger(std::move(logger));
  return absl::OkStatus();
}

std::string Kv(std::string_view key, std::string_view value) {
  constexpr std::size_t kMaxValue = 4096;
  value = value.substr(0, kMaxValue);
  const bool plain =
      !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
        return c > ' ' && c != '"' && c != '=' && c != '\\' && c != 0x7f;
      });
  if (plain) return fmt::format("{}={}", key, value);
  std::string out = fmt::format("{}=\"", key);
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

}  // namespace steadyrun
