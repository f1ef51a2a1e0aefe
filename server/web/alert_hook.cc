#include "server/web/alert_hook.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "base/digest.h"
#include "base/status_macros.h"
#include "proto/messages/checks.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxText = 500;

// The text of `key` in `object`; empty if there is none.
std::string TextOf(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) return "";
  std::string text = it->get<std::string>();
  if (text.size() > kMaxText) text.resize(kMaxText);
  return text;
}

// RFC 3339; 0001-01-01 and what is before the epoch: not set.
absl::StatusOr<WallTime> TimeOf(const json& alert, const char* key) {
  const std::string text = TextOf(alert, key);
  if (text.empty()) return WallTime();
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return checks::Bad(key, fmt::format("{} bytes", text.size()),
                       "a time of RFC 3339");
  }
  return std::max(FromUnixMillis(absl::ToUnixMillis(time)), WallTime());
}

std::string NodeOf(const json& labels) {
  std::string node = TextOf(labels, "node");
  if (node.empty()) node = TextOf(labels, "instance");
  return node.substr(0, node.find(':'));
}

absl::StatusOr<SiteAlert> ReadAlert(const json& alert) {
  if (!alert.is_object() || !alert.contains("labels") ||
      !alert["labels"].is_object()) {
    return checks::Bad("labels", "nothing", "an object of texts");
  }
  const json& labels = alert["labels"];
  SiteAlert site;
  site.name = TextOf(labels, "alertname");
  site.severity = TextOf(labels, "severity");
  site.run = TextOf(labels, "run");
  site.node = NodeOf(labels);
  site.fingerprint = TextOf(alert, "fingerprint");
  if (site.fingerprint.empty()) {
    site.fingerprint =
        Sha256Hex(labels.dump(-1, ' ', false, json::error_handler_t::replace));
  }
  ASSIGN_OR_RETURN(site.starts, TimeOf(alert, "startsAt"));
  if (TextOf(alert, "status") == "resolved") {
    ASSIGN_OR_RETURN(site.ends, TimeOf(alert, "endsAt"));
    site.ends = std::max(site.ends, site.starts);
  }
  const auto annotations = alert.find("annotations");
  if (annotations != alert.end() && annotations->is_object()) {
    site.text = TextOf(*annotations, "description");
    if (site.text.empty()) site.text = TextOf(*annotations, "summary");
  }
  return site;
}

}  // namespace

absl::StatusOr<std::vector<SiteAlert>> ReadAlertHook(std::string_view body) {
  const json hook = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!hook.is_object() || !hook.contains("alerts") ||
      !hook["alerts"].is_array()) {
    return checks::Bad("body", fmt::format("{} bytes", body.size()),
                       "a webhook of Alertmanager, version 4: an object with "
                       "`alerts`");
  }
  std::vector<SiteAlert> alerts;
  for (const json& alert : hook["alerts"]) {
    if (alerts.size() == kMaxHookAlerts) break;
    ASSIGN_OR_RETURN(SiteAlert site, ReadAlert(alert));
    // What this service said itself is no evidence of anything else.
    if (site.name.starts_with("Steadyrun")) continue;
    alerts.push_back(std::move(site));
  }
  return alerts;
}

}  // namespace steadyrun
