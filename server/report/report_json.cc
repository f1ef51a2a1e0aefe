#include <cmath>
#include <nlohmann/json.hpp>

#include "server/report/report.h"

namespace steadyrun {
namespace {

using Json = nlohmann::ordered_json;

Json Number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

// The epoch's start means: not yet.
Json UnixSeconds(WallTime at) {
  return at == WallTime() ? Json(nullptr) : Number(ToUnixSeconds(at));
}

Json IncidentJson(const Incident& incident) {
  const bool is_open = incident.state == IncidentState::kOpen;
  Json timeline = Json::array();
  for (const TimelineEntry& entry : incident.timeline) {
    timeline.push_back({{"unix", UnixSeconds(entry.at)}, {"text", entry.text}});
  }
  return {{"id", incident.Id()},
          {"kind", IncidentKindName(incident.kind)},
          {"severity", SeverityName(incident.severity)},
          {"state", IncidentStateName(incident.state)},
          {"attempt", incident.attempt.value},
          {"culprit",
           {{"node", incident.culprit.node},
            {"rank", incident.culprit.rank.value}}},
          {"step", incident.step.value},
          {"onset_unix", UnixSeconds(incident.onset)},
          {"detected_unix", UnixSeconds(incident.detected)},
          {"detection_seconds", Number(ToSeconds(incident.detection_time))},
          {"recovered_unix", UnixSeconds(incident.recovered)},
          {"recovery_seconds",
           is_open ? Json(nullptr) : Number(ToSeconds(incident.recovery_time))},
          {"steps_lost", incident.steps_lost},
          {"remediation", incident.remediation},
          {"reason", incident.reason},
          {"evidence", incident.evidence},
          {"timeline", std::move(timeline)},
          {"signature", incident.signature}};
}

Json CheckpointJson(const Checkpoint& checkpoint) {
  return {{"attempt", checkpoint.attempt.value},
          {"step", checkpoint.step.value},
          {"state", CheckpointStateName(checkpoint.state)},
          {"reason", checkpoint.reason},
          {"shards", checkpoint.shards.size()},
          {"shards_expected", checkpoint.shards_expected},
          {"size_bytes", checkpoint.SizeBytes()},
          {"saved_unix", UnixSeconds(checkpoint.saved)},
          {"save_seconds", Number(checkpoint.save_seconds)}};
}

}  // namespace

std::string RenderReportJson(const StabilityReport& report) {
  Json lost = Json::object();
  for (const auto& [cause, seconds] : report.lost_seconds) {
    lost[cause] = Number(seconds);
  }
  Json incidents = Json::array();
  for (const Incident& incident : report.incidents) {
    incidents.push_back(IncidentJson(incident));
  }
  Json checkpoints = Json::array();
  for (const Checkpoint& checkpoint : report.checkpoints) {
    checkpoints.push_back(CheckpointJson(checkpoint));
  }
  const Json json = {
      {"run", report.run},
      {"phase", RunPhaseName(report.phase)},
      {"phase_reason", report.phase_reason},
      {"target_steps", report.target_steps},
      {"steps_completed", report.steps_completed},
      {"attempts", report.attempts},
      {"failures", report.failures},
      {"wall_seconds", Number(report.wall_seconds)},
      {"productive_seconds", Number(report.productive_seconds)},
      {"ettr", Number(report.ettr)},
      {"mtbf_seconds", Number(report.mtbf_seconds)},
      {"mttr_seconds", Number(report.mttr_seconds)},
      {"lost_seconds", std::move(lost)},
      {"incidents", std::move(incidents)},
      {"checkpoints", std::move(checkpoints)},
      {"final_parameters_sha256", report.final_parameters_sha256}};
  // Log lines may be cut inside a character: replaced, never thrown over.
  return json.dump(2, ' ', /*ensure_ascii=*/false,
                   Json::error_handler_t::replace) +
         "\n";
}

}  // namespace steadyrun
