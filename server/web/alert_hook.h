#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/storage/site_alerts.h"

namespace steadyrun {

// Alertmanager's own webhook, version 4, as alerts of the site. The labels
// `run` and `node` say whose an alert is; without `node`, `instance` does, its
// port cut off. Our own alerts, which come back when Alertmanager routes them
// here, are left out. Pure. INVALID_ARGUMENT names what is wrong; more than
// kMaxHookAlerts, or a text that is too long, is cut.
absl::StatusOr<std::vector<SiteAlert>> ReadAlertHook(std::string_view body);
inline constexpr std::size_t kMaxHookAlerts = 200;
inline constexpr std::size_t kMaxHookBody = 512 << 10;

}  // namespace steadyrun
