#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace steadyrun {

struct LoggingOptions {
  std::string level = "info";  // trace, debug, info, warn, error
  std::string file;            // Empty: stderr.
};

// Sets up the process-wide spdlog logger: one event, one line,
//   2026-11-23T21:00:00.000Z info message key=value key="two words"
// A full log disk loses lines, never the process.
absl::Status SetupLogging(const LoggingOptions& options);

// Renders key=value; quotes and escapes the value when it needs it (control
// characters, spaces, quotes). Values longer than 4 KiB are cut.
std::string Kv(std::string_view key, std::string_view value);

}  // namespace steadyrun
