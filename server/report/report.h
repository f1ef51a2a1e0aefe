#pragma once

// The stability report: what a run did with its time and what befell it. Pure.
// Definitions (docs/report.md): ETTR = productive / wall; MTBF = wall / number
// of failures; MTTR = mean time from a failure's onset to the first new step.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/model/checkpoint.h"
#include "server/model/incident.h"
#include "server/model/run_state.h"

namespace steadyrun {

struct StabilityReport {
  RunId run;
  RunPhase phase = RunPhase::kPlacing;
  std::string phase_reason;
  std::int64_t target_steps = 0;  // 0: unknown.
  std::int64_t steps_completed = 0;
  std::int64_t attempts = 0;
  std::int64_t failures = 0;  // Unplanned ends of an attempt.
  double wall_seconds = 0;
  double productive_seconds = 0;
  double ettr = 0;
  double mtbf_seconds = 0;  // 0: no failure.
  double mttr_seconds = 0;  // 0: no failure recovered from yet.
  // TimeCauseName -> seconds; sums to wall_seconds - productive_seconds.
  std::map<std::string, double> lost_seconds;
  std::vector<Incident> incidents;      // In order of their number.
  std::vector<Checkpoint> checkpoints;  // In order of step, then attempt.
  // Rank 0's where all ranks that told one agree; else a sentence that begins
  // with "mismatch"; empty if none was told.
  std::string final_parameters_sha256;
  std::int32_t ranks_with_parameters = 0;
};

// Of `state` as it is at `now`; for an ended run, as it ended.
StabilityReport BuildReport(RunState state, std::vector<Incident> incidents,
                            std::vector<Checkpoint> checkpoints, WallTime now);

// For people: 80 columns, UTF-8, ends with a line feed.
std::string RenderReportText(const StabilityReport& report);

// One JSON object, indented, in the field names of docs/report.md. Times
// `*_unix` are seconds with fractions; what is not known or not finite is null.
std::string RenderReportJson(const StabilityReport& report);

}  // namespace steadyrun
