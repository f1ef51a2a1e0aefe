#include <algorithm>
#include <cstdio>
#include <iterator>

#include "base/status_macros.h"
#include "cli/commands.h"
#include "cli/proto_json.h"
#include "cli/run_text.h"
#include "cli/table.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::cli {
namespace {

void PrintJson(const google::protobuf::Message& message) {
  std::puts(ToJson(message)
                .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                .c_str());
}

std::string CulpritText(const v1::Culprit& culprit) {
  if (culprit.node().empty() && culprit.rank() < 0) return "unknown";
  if (culprit.rank() < 0) return culprit.node();
  if (culprit.node().empty()) return fmt::format("rank {}", culprit.rank());
  return fmt::format("{} rank {}", culprit.node(), culprit.rank());
}

std::string IncidentStateText(const v1::Incident& incident) {
  if (incident.state() == "open") return Paint(Tone::kBad, "open");
  if (incident.state() == "recovered") return Paint(Tone::kGood, "recovered");
  return incident.state();
}

}  // namespace

absl::Status ShowRuns(Context& context) {
  v1::ListRunsReply reply;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::ListRuns,
                                      v1::ListRunsRequest(), &reply));
  if (context.output == Output::kJson) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  std::fputs(RenderRunTable(reply).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status ShowStatus(Context& context, const std::string& run) {
  if (run.empty()) return ShowRuns(context);
  v1::GetRunRequest request;
  request.set_run(run);
  v1::RunView view;
  RETURN_IF_ERROR(
      context.client.Call(&v1::OperatorService::Stub::GetRun, request, &view));
  if (context.output == Output::kJson) {
    PrintJson(view);
    return absl::OkStatus();
  }
  std::fputs(RenderRun(view).c_str(), stdout);
  return absl::OkStatus();
}

absl::Status ShowIncidents(Context& context, const std::string& run,
                           bool only_open) {
  v1::ListIncidentsRequest request;
  request.set_run(run);
  request.set_only_open(only_open);
  v1::ListIncidentsReply reply;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::ListIncidents,
                                      request, &reply));
  if (context.output == Output::kJson) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  Table table({"INCIDENT", "KIND", "CULPRIT", "STEP", "DETECTED", "AFTER",
               "RECOVERY", "LOST", "STATE", "REASON"});
  for (const auto& incident : reply.incidents()) {
    table.Add({incident.id(), incident.kind(), CulpritText(incident.culprit()),
               FormatStep(incident.step()),
               FormatTime(incident.detected_unix_ms()),
               FormatSeconds(incident.detection_seconds()),
               incident.recovered_unix_ms() > 0
                   ? FormatSeconds(incident.recovery_seconds())
                   : "-",
               fmt::format("{} steps", incident.steps_lost()),
               IncidentStateText(incident), Printable(incident.reason())});
  }
  if (table.IsEmpty()) {
    std::puts("No incidents.");
  } else {
    std::fputs(table.Render().c_str(), stdout);
  }
  return absl::OkStatus();
}

absl::Status ExplainIncident(Context& context, const std::string& id) {
  v1::GetIncidentRequest request;
  request.set_id(id);
  v1::Incident incident;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::GetIncident,
                                      request, &incident));
  if (context.output == Output::kJson) {
    PrintJson(incident);
    return absl::OkStatus();
  }
  std::string out = fmt::format(
      "{}  {}  {}\n\n  What     {}\n  Culprit  {}\n  Where    attempt {}, step "
      "{}\n  Action   {}\n",
      Paint(Tone::kBold, incident.id()), incident.kind(),
      IncidentStateText(incident), Printable(incident.reason()),
      CulpritText(incident.culprit()), incident.attempt(),
      FormatStep(incident.step()), incident.remediation());
  out += fmt::format("  Noticed  {} after the onset\n",
                     FormatSeconds(incident.detection_seconds()));
  if (incident.recovered_unix_ms() > 0) {
    out += fmt::format("  Cost     {} to the first new step, {} steps again\n",
                       FormatSeconds(incident.recovery_seconds()),
                       incident.steps_lost());
  }
  out += "\nEvidence\n";
  for (const auto& line : incident.evidence()) {
    out += "  - " + Printable(line) + "\n";
  }
  if (incident.evidence().empty()) out += "  (none recorded)\n";
  out += "\nTimeline\n";
  for (const auto& entry : incident.timeline()) {
    const double since =
        static_cast<double>(entry.unix_ms() - incident.onset_unix_ms()) / 1000;
    out += fmt::format("  {}  {:+8.2f} s  {}\n", FormatTime(entry.unix_ms()),
                       since, Printable(entry.text()));
  }
  std::fputs(out.c_str(), stdout);
  return absl::OkStatus();
}

absl::Status ShowNodes(Context& context) {
  v1::ListNodesReply reply;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::ListNodes,
                                      v1::ListNodesRequest(), &reply));
  if (context.output == Output::kJson) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  Table table({"NODE", "STATUS", "HEARD", "SERVES", "RANKS ALIVE", "INCIDENTS",
               "SPOOLED", "VERSION"});
  for (const auto& node : reply.nodes()) {
    int alive = 0;
    for (const auto& run : node.state().runs()) {
      alive += static_cast<int>(std::count_if(
          run.ranks().begin(), run.ranks().end(), [](const auto& rank) {
            return rank.life() != v1::RANK_LIFE_EXITED;
          }));
    }
    const Tone tone = node.status() == "connected" ? Tone::kGood : Tone::kBad;
    table.Add({node.state().node(), Paint(tone, node.status()),
               FormatSeconds(node.heard_age_seconds()) + " ago",
               node.serving_run().empty() ? "(spare)" : node.serving_run(),
               std::to_string(alive), std::to_string(node.incidents()),
               std::to_string(node.state().spooled_reports()),
               node.state().version()});
  }
  if (table.IsEmpty()) {
    std::puts(
        "No nodes. Start an agent: steadyrun-agent --server ADDRESS --node "
        "NAME");
  } else {
    std::fputs(table.Render().c_str(), stdout);
  }
  return absl::OkStatus();
}

absl::Status ShowCheckpoints(Context& context, const std::string& run) {
  v1::ListCheckpointsRequest request;
  request.set_run(run);
  v1::ListCheckpointsReply reply;
  RETURN_IF_ERROR(context.client.Call(
      &v1::OperatorService::Stub::ListCheckpoints, request, &reply));
  if (context.output == Output::kJson) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  Table table({"STEP", "ATTEMPT", "STATE", "SHARDS", "SIZE", "SAVED", "TOOK",
               "REASON"});
  for (const auto& checkpoint : reply.checkpoints()) {
    Tone tone = Tone::kDim;
    if (checkpoint.state() == "distrusted") tone = Tone::kBad;
    if (checkpoint.state() == "verified" || checkpoint.state() == "trusted") {
      tone = Tone::kGood;
    }
    table.Add({FormatStep(checkpoint.step()),
               std::to_string(checkpoint.attempt()),
               Paint(tone, checkpoint.state()),
               std::to_string(checkpoint.shards_size()),
               FormatBytes(checkpoint.size_bytes()),
               FormatTime(checkpoint.saved_unix_ms()),
               FormatSeconds(checkpoint.save_seconds()),
               Printable(checkpoint.reason())});
  }
  if (table.IsEmpty()) {
    std::puts("No checkpoints were reported.");
  } else {
    std::fputs(table.Render().c_str(), stdout);
  }
  return absl::OkStatus();
}

absl::Status ShowReport(Context& context, const std::string& run) {
  v1::GetReportRequest request;
  request.set_run(run);
  v1::StabilityReport report;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::GetReport,
                                      request, &report));
  const std::string& text =
      context.output == Output::kJson ? report.json() : report.text();
  std::fputs(text.c_str(), stdout);
  if (!text.empty() && text.back() != '\n') std::fputc('\n', stdout);
  return absl::OkStatus();
}

absl::Status ShowAudit(Context& context, const std::string& run, int limit) {
  v1::ListAuditRequest request;
  request.set_run(run);
  request.set_limit(limit);
  v1::ListAuditReply reply;
  RETURN_IF_ERROR(context.client.Call(&v1::OperatorService::Stub::ListAudit,
                                      request, &reply));
  if (context.output == Output::kJson) {
    PrintJson(reply);
    return absl::OkStatus();
  }
  Table table({"SEQ", "TIME", "ACTOR", "ACTION", "RUN", "OUTCOME", "REASON"});
  for (const auto& entry : reply.entries()) {
    table.Add({std::to_string(entry.seq()), FormatTime(entry.unix_ms()),
               Printable(entry.actor()), entry.action(), entry.run(),
               Printable(entry.outcome()), Printable(entry.reason())});
  }
  std::fputs(table.Render().c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace steadyrun::cli
