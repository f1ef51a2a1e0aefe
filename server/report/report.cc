#include "server/report/report.h"

#include <algorithm>
#include <set>
#include <utility>

#include "server/recovery/time_ledger.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

// An unplanned end of an attempt, whatever was done about it.
bool IsFailure(const Incident& incident) {
  static const std::set<std::string> kStopsTheAttempt = {
      "restart", "replace_node", "rollback", "halt"};
  if (kStopsTheAttempt.contains(incident.remediation)) return true;
  if (incident.severity != Severity::kCritical) return false;
  return incident.kind == IncidentKind::kCrash ||
         incident.kind == IncidentKind::kNodeLost;
}

std::int64_t StepsCompleted(const RunState& state) {
  const std::int64_t steps = state.max_step.value + 1;
  // A trainer that counts from 1 ends at the target itself.
  return state.spec.target_steps > 0 ? std::min(steps, state.spec.target_steps)
                                     : steps;
}

void FillTimes(RunState state, WallTime now, StabilityReport* report) {
  const bool has_ended = IsEnded(state.phase) && state.ended != WallTime();
  // What the engine has not accounted yet belongs to the phase it is in.
  Account(&state, CauseOfPhase(state), has_ended ? state.ended : now);
  const std::string productive(TimeCauseName(TimeCause::kProductive));
  for (const auto& [cause, seconds] : state.time_seconds) {
    report->wall_seconds += seconds;
    if (cause == productive) {
      report->productive_seconds = seconds;
    } else {
      report->lost_seconds[cause] = seconds;
    }
  }
  if (report->wall_seconds > 0) {
    report->ettr = report->productive_seconds / report->wall_seconds;
  }
}

void FillFailures(StabilityReport* report) {
  double recovery_seconds = 0;
  std::int64_t recovered = 0;
  for (const Incident& incident : report->incidents) {
    if (!IsFailure(incident)) continue;
    ++report->failures;
    if (incident.state != IncidentState::kRecovered) continue;
    ++recovered;
    recovery_seconds += ToSeconds(incident.recovery_time);
  }
  if (report->failures > 0) {
    report->mtbf_seconds =
        report->wall_seconds / static_cast<double>(report->failures);
  }
  if (recovered > 0) {
    report->mttr_seconds = recovery_seconds / static_cast<double>(recovered);
  }
}

void FillParameters(const std::map<std::int32_t, std::string>& finished,
                    StabilityReport* report) {
  std::map<std::int32_t, std::string> told;
  for (const auto& [rank, digest] : finished) {
    if (!digest.empty()) told.emplace(rank, digest);
  }
  report->ranks_with_parameters = static_cast<std::int32_t>(told.size());
  if (told.empty()) return;
  const auto& [first_rank, first] = *told.begin();
  for (const auto& [rank, digest] : told) {
    if (digest == first) continue;
    report->final_parameters_sha256 =
        fmt::format("mismatch: rank {} has {}, rank {} has {}", first_rank,
                    first, rank, digest);
    return;
  }
  report->final_parameters_sha256 = first;
}

}  // namespace

StabilityReport BuildReport(RunState state, std::vector<Incident> incidents,
                            std::vector<Checkpoint> checkpoints, WallTime now) {
  StabilityReport report;
  report.run = state.spec.run;
  report.phase = state.phase;
  report.phase_reason = state.phase_reason;
  report.target_steps = state.spec.target_steps;
  report.steps_completed = StepsCompleted(state);
  report.attempts = state.attempts;
  // What is older is of an earlier run of this name.
  const auto is_earlier = [&](const auto& entry) {
    return entry.attempt < state.first_attempt;
  };
  std::erase_if(incidents, is_earlier);
  std::erase_if(checkpoints, is_earlier);
  report.incidents = std::move(incidents);
  std::sort(
      report.incidents.begin(), report.incidents.end(),
      [](const Incident& a, const Incident& b) { return a.number < b.number; });
  report.checkpoints = std::move(checkpoints);
  std::sort(report.checkpoints.begin(), report.checkpoints.end(),
            [](const Checkpoint& a, const Checkpoint& b) {
              return std::pair(a.step, a.attempt) <
                     std::pair(b.step, b.attempt);
            });
  FillParameters(state.finished, &report);
  FillTimes(std::move(state), now, &report);
  FillFailures(&report);
  return report;
}

}  // namespace steadyrun
