#pragma once

// Simulated fleets on the command line: `steadyrun fleet` and `steadyrun
// demo`. Both work without a server of the user's.

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "cli/client.h"

namespace steadyrun::cli {

struct FleetOptions {
  std::int32_t ranks = 1000;
  std::int64_t steps = 8640;
  std::uint64_t seed = 0;
  std::string profile = "default";  // Or "healthy", or a file.
  std::string server;               // Empty: in process.
  bool in_process = false;
  double speed = 1;  // With a server: times as fast as the profile.
  std::string run = "fleet";
  std::string out;  // Directory of truth.csv and findings.csv.
  bool json = false;
};
// Runs it and prints truth and findings. With a server, until the run ends or
// Ctrl-C; `client` gives token and CA.
absl::Status RunFleet(const FleetOptions& options, const ClientOptions& client);

struct DemoOptions {
  std::int32_t ranks = 128;
  double speed = 0;  // 0: steps of 0.2 s, longer ones for many ranks.
  std::uint64_t seed = 1;
  int port = 0;               // Of the dashboard; 0: a free one.
  std::string fault;          // Only this kind; empty: the tour.
  double exit_after = 0;      // Seconds; 0: until Ctrl-C.
  std::string server_binary;  // Empty: beside this program, or in PATH.
};
// Starts a server of its own in a temporary directory and a fleet that is
// struck by faults as a script says. Ends both, and removes the directory.
absl::Status RunDemo(const DemoOptions& options);

// Ctrl-C or SIGTERM came. CatchSignals() must have been called before.
void CatchSignals();
bool IsInterrupted();

}  // namespace steadyrun::cli
