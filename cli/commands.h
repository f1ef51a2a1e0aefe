#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/client.h"

namespace steadyrun::cli {

enum class Output { kText, kWide, kJson };

struct Context {
  Client& client;
  Output output = Output::kText;
};

// Questions: print to stdout, change nothing.
absl::Status ShowRuns(Context& context);
absl::Status ShowStatus(Context& context, const std::string& run);
absl::Status ShowIncidents(Context& context, const std::string& run,
                           bool only_open);
absl::Status ExplainIncident(Context& context, const std::string& id);
absl::Status ShowNodes(Context& context);
absl::Status ShowCheckpoints(Context& context, const std::string& run);
absl::Status ShowReport(Context& context, const std::string& run);
absl::Status ShowAudit(Context& context, const std::string& run, int limit);
// Redraws the fleet until Ctrl-C; once if `once` or stdout is no terminal.
absl::Status Top(Context& context, double interval_seconds, bool once);
// Checks what can be checked from here and says the fix for each defect.
// FAILED_PRECONDITION if something is wrong.
absl::Status Doctor(Context& context);

// The whole effective policy of a run, as commented TOML or as GetPolicy's
// reply in JSON; or of a file (empty: the default), asking no server.
absl::Status ShowPolicy(Context& context, const std::string& run);
absl::Status ShowPolicyFile(Output output, const std::string& file);

struct ActionOptions {
  v1::Action action = v1::ACTION_UNSPECIFIED;
  std::string run;
  std::string reason;
  std::string request_id;  // Empty: a fresh one.
  std::int64_t step = -1;
  std::string node;
  std::int64_t mute_seconds = 0;
  bool wait = false;  // Until it has taken effect.
};
absl::Status Act(Context& context, const ActionOptions& options);

struct LaunchOptions {
  v1::RunSpec spec;
  std::string policy_file;
  std::vector<std::string> environment;  // NAME=value
  std::string request_id;
  bool follow = false;  // Print progress until the run ends.
};
absl::Status Launch(Context& context, LaunchOptions options);

struct BacktestOptions {
  std::string steps_file;  // A recording, or:
  std::string run;         // a run of the server.
  std::string labels_file;
  std::string policy_file;
  std::int64_t from_attempt = 0;
};
// A recording through the detectors. Asks no server.
absl::Status BacktestFile(Output output, const BacktestOptions& options);

// Another policy over the history of a run that the server has stored.
absl::Status BacktestRun(Context& context, const BacktestOptions& options);

struct ParseOptions {
  std::string file;
  std::string format;  // Of a log; empty: found.
  bool explain = false;
  bool all = false;  // Explain lines without a match too.
};
// A recording as CSV that BacktestFile reads. Asks no server.
absl::Status Parse(Output output, const ParseOptions& options);

}  // namespace steadyrun::cli
