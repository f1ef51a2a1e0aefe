#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/run_text.h"
#include "cli/table.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;
void OnInterrupt(int) { interrupted = 1; }

std::string NodeSummary(const v1::ListNodesReply& nodes) {
  int connected = 0;
  int spare = 0;
  for (const auto& node : nodes.nodes()) {
    if (node.status() == "connected") {
      ++connected;
      if (node.serving_run().empty()) ++spare;
    }
  }
  return fmt::format("{} nodes: {} connected, {} spare\n", nodes.nodes_size(),
                     connected, spare);
}

absl::StatusOr<std::string> Frame(Context& context) {
  v1::ListRunsReply runs;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::ListRuns,
                                      v1::ListRunsRequest(), &runs));
  v1::ListNodesReply nodes;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::ListNodes,
                                      v1::ListNodesRequest(), &nodes));
  v1::ListIncidentsRequest open;
  open.set_only_open(true);
  open.set_limit(10);
  v1::ListIncidentsReply incidents;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::ListIncidents,
                                      open, &incidents));
  std::string out = fmt::format("steadyrun top  {}  {}\n\n",
                                context.client.server(), NodeSummary(nodes));
  out += RenderRunTable(runs);
  if (incidents.incidents_size() > 0) out += "\nOpen incidents\n";
  for (const auto& incident : incidents.incidents()) {
    out += fmt::format("  {}  {}  {}\n", incident.id(), incident.kind(),
                       Printable(incident.reason()));
  }
  return out;
}

}  // namespace

absl::Status Top(Context& context, double interval_seconds, bool once) {
  const bool redraw = !once && ::isatty(STDOUT_FILENO) == 1;
  std::signal(SIGINT, OnInterrupt);
  std::signal(SIGTERM, OnInterrupt);
  while (interrupted == 0) {
    auto frame = Frame(context);
    if (!frame.ok() && !redraw) return frame.status();
    if (redraw) std::fputs("\x1b[H\x1b[2J", stdout);
    std::fputs(frame.ok()
                   ? frame->c_str()
                   : fmt::format("{}\n", std::string(frame.status().message()))
                         .c_str(),
               stdout);
    std::fflush(stdout);
    if (!redraw) return absl::OkStatus();
    // In slices, so that Ctrl-C is felt at once.
    for (double left = interval_seconds; left > 0 && interrupted == 0;
         left -= 0.1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  return absl::OkStatus();
}

}  // namespace steadyrun::cli
