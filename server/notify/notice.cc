#include "server/notify/notice.h"

#include <algorithm>
#include <optional>

namespace steadyrun {
namespace {

class Planner {
 public:
  Planner(const NoticeFacts& facts, WallTime now, const NoticeOptions& options)
      : facts_(facts), now_(now), options_(options) {}

  std::optional<NoticeKind> DueOf(const Incident& incident) const {
    if (incident.severity < options_.min_severity) return std::nullopt;
    const auto told = facts_.told.find({incident.run, incident.number});
    const bool is_open = incident.state == IncidentState::kOpen;
    if (told != facts_.told.end()) {
      return DueOfTold(incident, told->second, is_open);
    }
    if (is_open) {
      if (IsFlapping(incident, now_)) return std::nullopt;
      return NoticeKind::kOpened;
    }
    const WallTime end = EndOf(incident);
    const auto mute = facts_.muted_until.find(incident.run);
    const bool ended_muted =
        mute != facts_.muted_until.end() && end <= mute->second;
    if (end < facts_.since || ended_muted || IsFlapping(incident, end)) {
      return std::nullopt;
    }
    return NoticeKind::kResolved;
  }

  bool IsMuted(const RunId& run) const {
    const auto mute = facts_.muted_until.find(run);
    return mute != facts_.muted_until.end() && now_ < mute->second;
  }

 private:
  std::optional<NoticeKind> DueOfTold(const Incident& incident,
                                      const ToldIncident& told,
                                      bool is_open) const {
    if (!is_open) {
      if (told.state != IncidentState::kOpen) return std::nullopt;
      return NoticeKind::kResolved;
    }
    if (incident.severity > told.severity) return NoticeKind::kEscalated;
    if (now_ - told.at >= options_.remind_after) return NoticeKind::kReminder;
    return std::nullopt;
  }

  // An earlier incident of this kind was told less than a window before `at`.
  bool IsFlapping(const Incident& incident, WallTime at) const {
    const auto end = facts_.told.lower_bound({incident.run, incident.number});
    auto it = facts_.told.lower_bound({incident.run, 0});
    return std::any_of(it, end, [&](const auto& entry) {
      const ToldIncident& told = entry.second;
      return told.kind == incident.kind &&
             at - told.at < options_.flap_window &&
             incident.severity <= told.severity;
    });
  }

  const NoticeFacts& facts_;
  const WallTime now_;
  const NoticeOptions& options_;
};

}  // namespace

std::string_view NoticeKindName(NoticeKind kind) {
  switch (kind) {
    case NoticeKind::kOpened:
      return "opened";
    case NoticeKind::kEscalated:
      return "escalated";
    case NoticeKind::kReminder:
      return "still open";
    case NoticeKind::kResolved:
      return "resolved";
    case NoticeKind::kPage:
      return "note";
  }
  return "unknown";
}

WallTime EndOf(const Incident& incident) {
  if (incident.recovered > WallTime()) return incident.recovered;
  if (!incident.timeline.empty()) return incident.timeline.back().at;
  return incident.detected;
}

std::vector<NoticeGroup> PlanNotices(const NoticeFacts& facts, WallTime now,
                                     const NoticeOptions& options) {
  const Planner planner(facts, now, options);
  std::map<RunId, NoticeGroup> groups;
  const auto add = [&](const RunId& run, Notice notice) {
    if (planner.IsMuted(run)) return;
    NoticeGroup& group = groups[run];
    group.run = run;
    group.notices.push_back(std::move(notice));
  };
  for (const Incident& incident : facts.incidents) {
    const auto due = planner.DueOf(incident);
    if (due) add(incident.run, {*due, incident, {}});
  }
  for (const StoredEvent& page : facts.pages) {
    add(page.run, {NoticeKind::kPage, {}, page});
  }
  std::vector<NoticeGroup> plan;
  for (auto& [run, group] : groups) plan.push_back(std::move(group));
  return plan;
}

}  // namespace steadyrun
