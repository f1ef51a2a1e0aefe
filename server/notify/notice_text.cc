#include "server/notify/notice_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "base/digest.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using Json = nlohmann::json;

// Of one text in a message: more is for the incident's page.
constexpr std::size_t kMaxTextBytes = 1000;
// PagerDuty refuses a longer dedup_key and summary.
constexpr std::size_t kMaxDedupBytes = 255;

std::string Cut(std::string text, std::size_t bytes = kMaxTextBytes) {
  if (text.size() <= bytes) return text;
  text.resize(bytes);
  // Not in the middle of a character: `Dump` replaces what is left of it.
  return text + "...";
}

// Bytes that are not UTF-8 become U+FFFD instead of an exception.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Rfc3339(WallTime time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(time),
                          absl::UTCTimeZone());
}

std::string AlertName(IncidentKind kind) {
  std::string name = "Steadyrun";
  bool is_start = true;
  for (const char c : IncidentKindName(kind)) {
    if (c == '_') {
      is_start = true;
      continue;
    }
    name += is_start && c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    is_start = false;
  }
  return name;
}

std::string IncidentUrl(const Incident& incident, const NoticeLinks& links) {
  if (links.external_url.empty()) return "";
  return fmt::format("{}/api/v1/incidents/{}", links.external_url,
                     incident.Id());
}

// Identity only: what changes with time goes to the annotations.
Json LabelsOf(const Incident& incident) {
  Json labels = {{"alertname", AlertName(incident.kind)},
                 {"run", incident.run},
                 {"kind", IncidentKindName(incident.kind)},
                 {"incident_id", incident.Id()}};
  labels["severity"] = SeverityName(incident.severity);
  return labels;
}

Json AnnotationsOf(const Incident& incident, const NoticeLinks& links) {
  Json annotations = {
      {"summary", fmt::format("Incident of training run {}: {}.", incident.run,
                              IncidentKindName(incident.kind))},
      {"description", Cut(incident.reason)},
      {"remediation", incident.remediation}};
  if (!incident.culprit.node.empty())
    annotations["node"] = incident.culprit.node;
  if (incident.culprit.rank != kNoRank) {
    annotations["rank"] = fmt::format("{}", incident.culprit.rank.value);
  }
  if (!links.runbook_url.empty()) {
    annotations["runbook_url"] = fmt::format("{}{}.md", links.runbook_url,
                                             IncidentKindName(incident.kind));
  }
  return annotations;
}

Json PageAlert(const Notice& notice, const NoticeLinks& links) {
  const StoredEvent& page = notice.page;
  return {{"status", "firing"},
          {"labels",
           {{"alertname", "SteadyrunPage"},
            {"run", page.run},
            {"severity", "critical"}}},
          {"annotations",
           {{"summary", "Steadyrun asks for a person."},
            {"description", Cut(page.text)}}},
          {"startsAt", Rfc3339(page.at)},
          {"endsAt", "0001-01-01T00:00:00Z"},
          {"generatorURL", links.external_url},
          {"fingerprint",
           Sha256Hex(fmt::format("page {}", page.seq)).substr(0, 16)}};
}

Json WebhookAlert(const Notice& notice, const NoticeLinks& links) {
  if (notice.kind == NoticeKind::kPage) return PageAlert(notice, links);
  const Incident& incident = notice.incident;
  const bool is_firing = incident.state == IncidentState::kOpen;
  return {
      {"status", is_firing ? "firing" : "resolved"},
      {"labels", LabelsOf(incident)},
      {"annotations", AnnotationsOf(incident, links)},
      {"startsAt", Rfc3339(incident.detected)},
      {"endsAt", is_firing ? "0001-01-01T00:00:00Z" : Rfc3339(EndOf(incident))},
      {"generatorURL", IncidentUrl(incident, links)},
      {"fingerprint", Sha256Hex(incident.Id()).substr(0, 16)}};
}

// What all of `alerts` have alike.
Json CommonOf(const Json& alerts, const char* part) {
  Json common = alerts.at(0).at(part);
  for (const Json& alert : alerts) {
    for (auto it = common.begin(); it != common.end();) {
      const Json& other = alert.at(part);
      const auto same = other.find(it.key());
      it = same != other.end() && *same == it.value() ? std::next(it)
                                                      : common.erase(it);
    }
  }
  return common;
}

// A closed one was not mended: its run was stopped or halted.
std::string_view WordOf(const Notice& notice) {
  if (notice.kind == NoticeKind::kResolved &&
      notice.incident.state == IncidentState::kClosed) {
    return "closed";
  }
  return NoticeKindName(notice.kind);
}

std::string LineOf(const Notice& notice, const NoticeLinks& links) {
  if (notice.kind == NoticeKind::kPage) return Cut(notice.page.text);
  const Incident& incident = notice.incident;
  std::string line = fmt::format(
      "[{}] {} {} {}: {}", SeverityName(incident.severity), WordOf(notice),
      incident.Id(), IncidentKindName(incident.kind), Cut(incident.reason));
  if (incident.remediation != "none") {
    line += fmt::format(" Remedy: {}.", incident.remediation);
  }
  const std::string url = IncidentUrl(incident, links);
  return url.empty() ? line : line + " " + url;
}

std::string_view PagerDutySeverity(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kCritical:
      return "critical";
  }
  return "critical";
}

}  // namespace

std::string GroupTitle(const NoticeGroup& group) {
  const std::string whose =
      group.run.empty() ? "the service" : "run " + group.run;
  if (group.notices.size() == 1) {
    const Notice& only = group.notices.front();
    if (only.kind == NoticeKind::kPage) return "Steadyrun: " + whose;
    return fmt::format("Steadyrun: {}: {} {}", whose,
                       IncidentKindName(only.incident.kind), WordOf(only));
  }
  return fmt::format("Steadyrun: {}: {} notices", whose, group.notices.size());
}

std::string GroupText(const NoticeGroup& group, const NoticeLinks& links) {
  std::string text = GroupTitle(group);
  for (std::size_t i = 0; i < group.notices.size(); ++i) {
    if (i == kMaxLines) {
      return text + fmt::format("\nand {} more", group.notices.size() - i);
    }
    text += "\n" + LineOf(group.notices[i], links);
  }
  return text;
}

std::string SlackBody(const NoticeGroup& group, const NoticeLinks& links) {
  return Dump({{"text", GroupText(group, links)}});
}

std::string WebhookBody(const NoticeGroup& group, WallTime,
                        const NoticeLinks& links) {
  Json alerts = Json::array();
  bool is_firing = false;
  for (std::size_t i = 0; i < group.notices.size() && i < kMaxLines; ++i) {
    alerts.push_back(WebhookAlert(group.notices[i], links));
    is_firing = is_firing || alerts.back().at("status") == "firing";
  }
  const std::size_t truncated = group.notices.size() - alerts.size();
  return Dump({{"version", "4"},
               {"groupKey", fmt::format("{{}}:{{run=\"{}\"}}", group.run)},
               {"truncatedAlerts", truncated},
               {"status", is_firing ? "firing" : "resolved"},
               {"receiver", "steadyrun"},
               {"groupLabels", {{"run", group.run}}},
               {"commonLabels", CommonOf(alerts, "labels")},
               {"commonAnnotations", CommonOf(alerts, "annotations")},
               {"externalURL", links.external_url},
               {"alerts", alerts}});
}

std::string AlertmanagerBody(const std::vector<Incident>& incidents,
                             const std::vector<HaltedRun>& halted, WallTime now,
                             Duration interval, const NoticeLinks& links) {
  Json alerts = Json::array();
  const auto open_until =
      now + std::chrono::duration_cast<std::chrono::milliseconds>(4 * interval);
  for (const Incident& incident : incidents) {
    const bool is_open = incident.state == IncidentState::kOpen;
    const WallTime end = is_open ? open_until : EndOf(incident);
    if (!is_open && now - end > kResolvedFor) continue;
    Json alert = {{"labels", LabelsOf(incident)},
                  {"annotations", AnnotationsOf(incident, links)},
                  {"startsAt", Rfc3339(incident.detected)},
                  {"endsAt", Rfc3339(std::max(end, incident.detected))}};
    const std::string url = IncidentUrl(incident, links);
    if (!url.empty()) alert["generatorURL"] = url;
    alerts.push_back(std::move(alert));
  }
  for (const HaltedRun& run : halted) {
    alerts.push_back({{"labels",
                       {{"alertname", "SteadyrunRunHalted"},
                        {"run", run.run},
                        {"severity", "critical"}}},
                      {"annotations",
                       {{"summary",
                         "A training run is halted and waits for a "
                         "person."},
                        {"description", Cut(run.reason)}}},
                      {"startsAt", Rfc3339(run.since)},
                      {"endsAt", Rfc3339(open_until)}});
  }
  return alerts.empty() ? "" : Dump(alerts);
}

std::string PagerDutyBody(const Notice& notice, const RunId& run,
                          const std::string& routing_key,
                          const NoticeLinks& links) {
  const bool is_page = notice.kind == NoticeKind::kPage;
  const Incident& incident = notice.incident;
  const std::string key =
      is_page ? fmt::format("steadyrun page {}", notice.page.seq)
              : "steadyrun " + incident.Id();
  Json body = {{"routing_key", routing_key},
               {"event_action",
                notice.kind == NoticeKind::kResolved ? "resolve" : "trigger"},
               {"dedup_key", key.substr(0, kMaxDedupBytes)},
               {"client", "Steadyrun"}};
  Json& payload = body["payload"];
  payload["summary"] = LineOf(notice, {});
  payload["source"] = run.empty() ? "steadyrun-server" : run;
  payload["severity"] =
      is_page ? "critical" : PagerDutySeverity(incident.severity);
  if (!is_page) {
    payload["component"] = incident.culprit.node;
    payload["class"] = IncidentKindName(incident.kind);
    payload["custom_details"] = AnnotationsOf(incident, links);
    const std::string url = IncidentUrl(incident, links);
    if (!url.empty()) body["client_url"] = url;
  }
  return Dump(body);
}

}  // namespace steadyrun
