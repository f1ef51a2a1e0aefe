#pragma once

// What receivers are sent, as text and JSON. Pure. All strings are bounded and
// valid UTF-8, whatever a log line held.

#include <string>
#include <vector>

#include "server/notify/notice.h"

namespace steadyrun {

// Where links in notifications lead: the server's page as people reach it,
// without a slash at its end. Empty: no links.
struct NoticeLinks {
  std::string external_url;
  std::string runbook_url;  // Prefix of a page per kind, "<prefix>hang.md".
};

// One line a notice, at most kMaxLines of them, for chat, mail and commands.
std::string GroupTitle(const NoticeGroup& group);
std::string GroupText(const NoticeGroup& group, const NoticeLinks& links);
inline constexpr std::size_t kMaxLines = 20;

// {"text": ...}: Slack's incoming webhooks and what imitates them.
std::string SlackBody(const NoticeGroup& group, const NoticeLinks& links);

// The shape of Alertmanager's own webhooks (version 4), so that each receiver
// made for those understands it.
std::string WebhookBody(const NoticeGroup& group, WallTime now,
                        const NoticeLinks& links);

// A run that waits for a person. Its incidents are closed: this is what stays.
struct HaltedRun {
  RunId run;
  WallTime since;
  std::string reason;
};

// POST /api/v2/alerts of Alertmanager. Open incidents and halted runs, until
// `now` + 4 times `interval`, and incidents that ended within kResolvedFor.
// Empty: none of them.
std::string AlertmanagerBody(const std::vector<Incident>& incidents,
                             const std::vector<HaltedRun>& halted, WallTime now,
                             Duration interval, const NoticeLinks& links);
inline constexpr Duration kResolvedFor = std::chrono::minutes(5);

// Events API v2 of PagerDuty, one notice a request; deduplicated by incident.
std::string PagerDutyBody(const Notice& notice, const RunId& run,
                          const std::string& routing_key,
                          const NoticeLinks& links);

}  // namespace steadyrun
