#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/model/run_state.h"

namespace steadyrun {

// What people see of the live state; the stored rest comes from the store.
struct RunView {
  RunState state;
  double loss = 0;  // Of the newest step; NaN is a value.
  double grad_norm = 0;
  double step_seconds = 0;  // Median of the last 64 steps.
  double tokens_per_second = 0;
  std::int32_t ranks_alive = 0;
  Duration progress_age{};  // Since any rank advanced.
  // Longest such time that is normal now; 0 while nothing is expected.
  Duration progress_deadline{};
  std::int32_t open_incidents = 0;
  Step checkpoint_step = kNoStep;  // Newest that a restart would use.
  std::int32_t restarts_left = 0;
  std::vector<float> loss_line;  // Of recent steps, oldest first.
  // Share of the newest `goodput_over` that was productive; 0 s: unknown.
  double goodput = 0;
  Duration goodput_over{};
  // observe, advise or act; of a mixed policy: see DescribeMode().
  std::string policy_mode;
  std::string verdict;  // What is going on, computed from the incidents.
  std::string why;
  std::string next;
};

struct NodeView {
  NodeState state;
  std::string status;  // connected, silent, lost, quarantined
  Duration heard_age{};
  RunId serving_run;  // Empty: spare.
  std::string quarantine_reason;
  std::int32_t incidents = 0;
};

// What became of the reports received in this life of the service: each is in
// exactly one of these, so that nothing is dropped in silence.
struct ReportCounts {
  std::uint64_t applied = 0;      // Or held until their row closes.
  std::uint64_t duplicate = 0;    // Known by their number.
  std::uint64_t stale = 0;        // Of an attempt that is not the current one.
  std::uint64_t unknown_run = 0;  // Of a run this service does not know.
  std::uint64_t gaps = 0;         // Say that an agent had to drop telemetry.
  std::uint64_t dropped = 0;      // How many reports those gaps cover.
};

struct EngineView {
  std::vector<RunView> runs;    // By name.
  std::vector<NodeView> nodes;  // By name.
  std::size_t sessions = 0;
  ReportCounts reports;
};

}  // namespace steadyrun
