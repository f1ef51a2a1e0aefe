#include "server/metrics/run_counts.h"

#include <cmath>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

constexpr RunPhase kPhases[] = {
    RunPhase::kPlacing, RunPhase::kVerifying, RunPhase::kStarting,
    RunPhase::kRunning, RunPhase::kStopping,  RunPhase::kPaused,
    RunPhase::kHalted,  RunPhase::kCompleted, RunPhase::kStopped};
constexpr Severity kSeverities[] = {Severity::kInfo, Severity::kWarning,
                                    Severity::kCritical};

const std::vector<double> kFaultSeconds = {0.25, 0.5, 1,  2,   5,   10,
                                           15,   30,  60, 120, 300, 900};

BucketCounts& Of(std::map<IncidentKind, BucketCounts>* counts,
                 IncidentKind kind) {
  return counts->try_emplace(kind, kFaultSeconds).first->second;
}

std::string Text(std::string_view text) { return std::string(text); }

}  // namespace

void RunCounts::Observe(const Incident& incident, bool is_new) {
  Counts& counts = runs_[incident.run];
  const bool is_first_sight = incident.number > counts.newest_incident;
  const bool was_open = counts.open.erase(incident.number) != 0;
  if (incident.state == IncidentState::kOpen) {
    counts.open[incident.number] = incident.severity;
  }
  if (is_first_sight) counts.newest_incident = incident.number;
  if (!is_new) return;
  if (is_first_sight) {
    ++counts.incidents[{incident.kind, incident.severity}];
    Of(&detection_, incident.kind).Observe(ToSeconds(incident.detection_time));
  }
  if (incident.state == IncidentState::kRecovered &&
      (was_open || is_first_sight)) {
    Of(&recovery_, incident.kind).Observe(ToSeconds(incident.recovery_time));
  }
}

void RunCounts::Observe(const Checkpoint& checkpoint) {
  if (checkpoint.state != CheckpointState::kVerified &&
      checkpoint.state != CheckpointState::kTrusted) {
    return;
  }
  Counts& counts = runs_[checkpoint.run];
  if (checkpoint.saved < counts.checkpoint_saved) return;
  counts.checkpoint_saved = checkpoint.saved;
  counts.checkpoint_step = checkpoint.step;
}

void RunCounts::Observe(const StepRow& row) {
  Counts& counts = runs_[row.run];
  counts.last_step_at = row.ended;
  counts.slowest_rank = row.slowest_rank;
  counts.max_over_median =
      row.step_seconds > 0 ? row.step_seconds_max / row.step_seconds : 0;
  counts.nonfinite_loss += std::isfinite(row.loss) ? 0 : 1;
  counts.nonfinite_grad_norm += std::isfinite(row.grad_norm) ? 0 : 1;
  if (std::isfinite(row.tokens)) counts.tokens += row.tokens;
  if (std::isfinite(row.step_seconds)) {
    counts.step_seconds.Observe(row.step_seconds);
  }
}

void RunCounts::Forget(const std::map<RunId, const RunView*>& shown) {
  std::erase_if(
      runs_, [&](const auto& entry) { return shown.count(entry.first) == 0; });
}

void RunCounts::Write(const EngineView& view, WallTime now, FamilyList* list) {
  std::map<RunId, const RunView*> shown;
  for (const RunView& run : view.runs) {
    if (IsEnded(run.state.phase) && now - run.state.ended > kKeepEnded) {
      continue;
    }
    shown[run.state.spec.run] = &run;
  }
  Forget(shown);
  Shown runs;
  for (const auto& [name, run] : shown) runs.emplace_back(run, &runs_[name]);
  WriteState(runs, list);
  WriteSteps(runs, list);
  WriteRecovery(runs, list);
  WriteIncidents(runs, list);
}

void RunCounts::WriteState(const Shown& runs, FamilyList* list) {
  auto state = list->Gauge("steadyrun_run_state",
                           "1 for the phase the run is in, 0 for the others.");
  auto time = list->Counter("steadyrun_run_time_seconds_total",
                            "Wall time of the run by what it went to.");
  auto world = list->Gauge("steadyrun_run_world_size",
                           "Ranks the run was launched with.");
  auto ranks = list->Gauge("steadyrun_run_ranks_reporting",
                           "Ranks that live, as their agents say.");
  for (const auto& [run, counts] : runs) {
    const std::string& name = run->state.spec.run;
    for (const RunPhase phase : kPhases) {
      state.Add(run->state.phase == phase ? 1 : 0,
                {{"run", name}, {"state", Text(RunPhaseName(phase))}});
    }
    for (const auto& [cause, seconds] : run->state.time_seconds) {
      time.Add(seconds, {{"run", name}, {"phase", cause}});
    }
    world.Add(run->state.spec.WorldSize(), {{"run", name}});
    ranks.Add(run->ranks_alive, {{"run", name}});
  }
}

void RunCounts::WriteSteps(const Shown& runs, FamilyList* list) {
  auto step = list->Gauge("steadyrun_run_step",
                          "Newest step that all ranks completed; -1 none.");
  auto target = list->Gauge("steadyrun_run_target_steps",
                            "Steps of the whole run; 0 unknown.");
  auto last = list->Gauge("steadyrun_run_last_step_timestamp_seconds",
                          "When the newest step was completed.");
  auto age = list->Gauge("steadyrun_run_progress_age_seconds",
                         "Time since any rank advanced.");
  auto deadline = list->Gauge("steadyrun_run_progress_deadline_seconds",
                              "Longest time without progress that is normal "
                              "now; 0 while none is expected.");
  auto loss = list->Gauge("steadyrun_run_loss",
                          "Loss of the newest step, mean over ranks.");
  auto norm = list->Gauge("steadyrun_run_grad_norm",
                          "Gradient norm of the newest step, highest rank.");
  auto duration = list->Histogram("steadyrun_run_step_duration_seconds",
                                  "Duration of steps, median over ranks.");
  auto ratio = list->Gauge("steadyrun_run_step_duration_max_over_median_ratio",
                           "Slowest rank of the newest step over the median.");
  auto slowest = list->Gauge("steadyrun_run_slowest_rank",
                             "Rank that took longest in the newest step.");
  auto nonfinite = list->Counter("steadyrun_run_nonfinite_steps_total",
                                 "Steps with a NaN or infinite value.");
  auto tokens = list->Counter("steadyrun_run_tokens_total",
                              "Tokens of all ranks since the service started.");
  for (const auto& [run, counts] : runs) {
    const MetricLabels labels = {{"run", run->state.spec.run}};
    step.Add(static_cast<double>(run->state.attempt_step.value), labels);
    target.Add(static_cast<double>(run->state.spec.target_steps), labels);
    age.Add(ToSeconds(run->progress_age), labels);
    deadline.Add(ToSeconds(run->progress_deadline), labels);
    if (run->state.attempt_step < Step{0}) continue;
    loss.Add(run->loss, labels);
    norm.Add(run->grad_norm, labels);
    if (counts->last_step_at == WallTime()) continue;
    last.Add(ToUnixSeconds(counts->last_step_at), labels);
    duration.Add(counts->step_seconds, labels);
    ratio.Add(counts->max_over_median, labels);
    slowest.Add(counts->slowest_rank, labels);
    tokens.Add(counts->tokens, labels);
    const std::string& name = run->state.spec.run;
    nonfinite.Add(static_cast<double>(counts->nonfinite_loss),
                  {{"run", name}, {"signal", "loss"}});
    nonfinite.Add(static_cast<double>(counts->nonfinite_grad_norm),
                  {{"run", name}, {"signal", "grad_norm"}});
  }
}

void RunCounts::WriteRecovery(const Shown& runs, FamilyList* list) {
  auto attempts = list->Counter("steadyrun_run_attempts_total",
                                "Launches of the run's processes.");
  auto budget = list->Gauge("steadyrun_run_restart_budget_remaining",
                            "Automatic restarts that policy still allows now.");
  auto held = list->Gauge("steadyrun_run_held",
                          "1 while an operator's hold keeps the service from "
                          "stopping and starting the run by itself.");
  auto usable = list->Gauge("steadyrun_run_checkpoint_step",
                            "Step a restart would resume from; -1 none.");
  auto step = list->Gauge("steadyrun_run_last_checkpoint_step",
                          "Step of the newest verified checkpoint.");
  auto saved = list->Gauge("steadyrun_run_last_checkpoint_timestamp_seconds",
                           "When the newest verified checkpoint was saved.");
  for (const auto& [run, counts] : runs) {
    const MetricLabels labels = {{"run", run->state.spec.run}};
    attempts.Add(static_cast<double>(run->state.attempts), labels);
    budget.Add(run->restarts_left, labels);
    held.Add(run->state.is_held ? 1 : 0, labels);
    usable.Add(static_cast<double>(run->checkpoint_step.value), labels);
    if (counts->checkpoint_step == kNoStep) continue;
    step.Add(static_cast<double>(counts->checkpoint_step.value), labels);
    saved.Add(ToUnixSeconds(counts->checkpoint_saved), labels);
  }
}

void RunCounts::WriteIncidents(const Shown& runs, FamilyList* list) {
  auto total = list->Counter("steadyrun_incidents_total",
                             "Incidents since the service started.");
  auto open = list->Gauge("steadyrun_incidents_open",
                          "Incidents that are not recovered or closed.");
  for (const auto& [run, counts] : runs) {
    const std::string& name = run->state.spec.run;
    for (const auto& [key, count] : counts->incidents) {
      total.Add(static_cast<double>(count),
                {{"run", name},
                 {"kind", Text(IncidentKindName(key.first))},
                 {"severity", Text(SeverityName(key.second))}});
    }
    for (const Severity severity : kSeverities) {
      double number = 0;
      for (const auto& [id, one] : counts->open) number += one == severity;
      open.Add(number,
               {{"run", name}, {"severity", Text(SeverityName(severity))}});
    }
  }
  auto detection = list->Histogram("steadyrun_incident_detection_seconds",
                                   "From the onset of a fault to its notice.");
  for (const auto& [kind, counts] : detection_) {
    detection.Add(counts, {{"kind", Text(IncidentKindName(kind))}});
  }
  auto recovery =
      list->Histogram("steadyrun_incident_recovery_seconds",
                      "From the onset of a fault to the first new step.");
  for (const auto& [kind, counts] : recovery_) {
    recovery.Add(counts, {{"kind", Text(IncidentKindName(kind))}});
  }
}

}  // namespace steadyrun
