#include "fleet/sim/trial_text.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

namespace steadyrun::fleet {
namespace {

struct Line {
  double seconds = 0;
  std::string kind;
  std::string detector;
  Step step;
  Step onset_step;
  Culprit culprit;
  Severity severity = Severity::kCritical;
  std::string advice;
  std::string reason;
};

std::vector<Line> LinesOf(const TrialResult& result) {
  std::vector<Line> lines;
  for (const Claim& claim : result.claims) {
    const Finding& finding = claim.finding;
    lines.push_back({ToSeconds(claim.at - result.start),
                     std::string(IncidentKindName(finding.kind)),
                     finding.detector, finding.step, finding.onset_step,
                     finding.culprit, finding.severity,
                     std::string(AdviceName(finding.advice)), finding.reason});
  }
  for (const Incident& incident : result.incidents) {
    lines.push_back(
        {ToUnixSeconds(incident.detected) - ToUnixSeconds(result.wall_start),
         std::string(IncidentKindName(incident.kind)), "", incident.step,
         kNoStep, incident.culprit, incident.severity, "", incident.reason});
  }
  std::ranges::stable_sort(lines, {}, &Line::seconds);
  return lines;
}

std::string Quoted(std::string_view text, char inner) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || (inner == '\\' && c == '\\')) quoted += inner;
    if (static_cast<unsigned char>(c) < 0x20) {
      quoted += ' ';
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}
std::string Json(std::string_view text) { return Quoted(text, '\\'); }

}  // namespace

std::string FindingsCsv(const TrialResult& result) {
  std::string csv =
      "kind,detector,detected_seconds,detected_step,onset_step,node,rank,"
      "severity,advice,reason\n";
  for (const Line& line : LinesOf(result)) {
    csv += fmt::format("{},{},{:.3f},{},{},{},{},{},{},{}\n", line.kind,
                       line.detector, line.seconds, line.step.value,
                       line.onset_step.value, line.culprit.node,
                       line.culprit.rank.value, SeverityName(line.severity),
                       line.advice, Quoted(line.reason, '"'));
  }
  return csv;
}

std::string TrialJson(const TrialResult& result, const JobOptions& job) {
  std::string json = fmt::format(
      "{{\n  \"run\": {}, \"profile\": {}, \"ranks\": {}, \"seed\": {},\n"
      "  \"steps\": {}, \"attempts\": {}, \"simulated_seconds\": {:.3f},\n"
      "  \"truth\": [",
      Json(job.run), Json(job.profile.name), job.ranks, job.seed, result.rows,
      result.attempts, ToSeconds(result.simulated));
  std::string_view comma = "\n";
  for (const Fault& fault : result.faults) {
    if (!fault.has_struck) continue;
    json += fmt::format(
        "{}    {{\"id\": {}, \"kind\": {}, \"scope\": {}, \"node\": {}, "
        "\"rank\": {}, \"ranks\": {}, \"onset_step\": {}, \"steps\": {}, "
        "\"onset_seconds\": {:.3f}, \"severity\": {:.4g}, \"comment\": {}}}",
        comma, fault.id, Json(FaultKindName(fault.kind)),
        Json(FaultScopeName(fault.scope)), Json(fault.node), fault.rank.value,
        fault.ranks, fault.onset.value, fault.steps,
        ToSeconds(fault.struck - result.start), fault.severity,
        Json(fault.comment));
    comma = ",\n";
  }
  json += "\n  ],\n  \"findings\": [";
  comma = "\n";
  for (const Line& line : LinesOf(result)) {
    json += fmt::format(
        "{}    {{\"kind\": {}, \"detector\": {}, \"detected_seconds\": {:.3f}, "
        "\"detected_step\": {}, \"onset_step\": {}, \"node\": {}, \"rank\": "
        "{}, \"severity\": {}, \"action\": {}, \"reason\": {}}}",
        comma, Json(line.kind), Json(line.detector), line.seconds,
        line.step.value, line.onset_step.value, Json(line.culprit.node),
        line.culprit.rank.value, Json(SeverityName(line.severity)),
        Json(line.advice), Json(line.reason));
    comma = ",\n";
  }
  return json + "\n  ]\n}\n";
}

std::string TrialText(const TrialResult& result, const JobOptions& job) {
  std::string text = fmt::format(
      "{} ranks, profile {}, seed {}: {} steps in {} attempts, {:.1f} hours "
      "of simulated time\n\nWhat befell it (the truth)\n",
      job.ranks, job.profile.name, job.seed, result.rows, result.attempts,
      ToSeconds(result.simulated) / 3600);
  for (const Fault& fault : result.faults) {
    if (!fault.has_struck) continue;
    const std::string where =
        fault.rank == kNoRank ? std::string("the whole job")
        : fault.ranks == 1
            ? fmt::format("rank {} on {}", fault.rank.value, fault.node)
            : fmt::format("ranks {}-{} from {}", fault.rank.value,
                          fault.rank.value + fault.ranks - 1, fault.node);
    text += fmt::format("  {:>9.1f} s  step {:>6}  {:<18} {}{}{}\n",
                        ToSeconds(fault.struck - result.start),
                        fault.onset.value, FaultKindName(fault.kind), where,
                        fault.severity > 0
                            ? fmt::format(", severity {:.3g}", fault.severity)
                            : "",
                        fault.comment.empty() ? "" : ", " + fault.comment);
  }
  text += "\nWhat was found\n";
  for (const Line& line : LinesOf(result)) {
    text += fmt::format("  {:>9.1f} s  step {:>6}  {:<18} {}\n", line.seconds,
                        line.step.value, line.kind, line.reason);
  }
  return text;
}

}  // namespace steadyrun::fleet
