#include "server/storage/event_table.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

struct NewEvent {
  WallTime at;
  std::string_view kind;
  const RunId& run;
  std::int64_t incident = 0;
  std::string_view state;
  std::string_view severity;
  std::string_view text;
};

absl::Status Append(const NewEvent& event, Database& database) {
  return database.Run(
      "INSERT INTO events (at_unix_ms, kind, run, incident, state, severity,"
      " text) VALUES (?, ?, ?, ?, ?, ?, ?)",
      ToUnixMillis(event.at), event.kind, std::string_view(event.run),
      event.incident, event.state, event.severity, event.text);
}

}  // namespace

absl::Status AppendIncidentEvent(const Incident& incident, WallTime now,
                                 Database& database) {
  bool is_known = false;
  RETURN_IF_ERROR(database.Query(
      "SELECT 1 FROM incidents WHERE run = ? AND number = ? AND state = ?"
      " AND severity = ?",
      [&](const Row&) {
        is_known = true;
        return absl::OkStatus();
      },
      incident.run, incident.number, IncidentStateName(incident.state),
      SeverityName(incident.severity)));
  if (is_known) return absl::OkStatus();
  return Append(
      {now, "incident", incident.run, incident.number,
       IncidentStateName(incident.state), SeverityName(incident.severity),
       fmt::format("{}: {}", IncidentKindName(incident.kind), incident.reason)},
      database);
}

absl::Status AppendEvent(const Decision& decision, Database& database) {
  return Append({decision.at, "decision", decision.run, decision.incident,
                 decision.action, "", decision.reason},
                database);
}

absl::Status AppendEvent(const Page& page, WallTime now, Database& database) {
  return Append({now, "page", page.run, page.incident, "", "", page.text},
                database);
}

absl::Status SaveMute(const Mute& mute, WallTime now, Database& database) {
  RETURN_IF_ERROR(database.Run(
      "INSERT INTO mutes (run, until_unix_ms, actor, reason)"
      " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (run) DO UPDATE SET"
      " until_unix_ms = ?2, actor = ?3, reason = ?4",
      mute.run, ToUnixMillis(mute.until), mute.actor, mute.reason));
  return Append({now, "mute", mute.run, 0, mute.until > now ? "on" : "off", "",
                 fmt::format("by {}: {}", mute.actor, mute.reason)},
                database);
}

absl::StatusOr<std::vector<StoredEvent>> LoadEvents(Database& database,
                                                    const EventQuery& query) {
  std::vector<StoredEvent> events;
  RETURN_IF_ERROR(database.Query(
      "SELECT seq, at_unix_ms, kind, run, incident, state, severity, text"
      " FROM events WHERE seq > ?1 AND (?2 = '' OR run = ?2)"
      " ORDER BY seq LIMIT ?3",
      [&](const Row& row) {
        events.push_back({row.Int(0), FromUnixMillis(row.Int(1)),
                          std::string(row.Text(2)), RunId(row.Text(3)),
                          row.Int(4), std::string(row.Text(5)),
                          std::string(row.Text(6)), std::string(row.Text(7))});
        return absl::OkStatus();
      },
      query.after, query.run, std::clamp(query.limit, 1, kMaxEventBatch)));
  return events;
}

absl::StatusOr<std::int64_t> NewestEvent(Database& database) {
  std::int64_t newest = 0;
  RETURN_IF_ERROR(database.Query("SELECT coalesce(max(seq), 0) FROM events",
                                 [&](const Row& row) {
                                   newest = row.Int(0);
                                   return absl::OkStatus();
                                 }));
  return newest;
}

absl::StatusOr<bool> PruneEvents(WallTime before, std::int64_t limit,
                                 Database& database) {
  ASSIGN_OR_RETURN(const std::int64_t newest, NewestEvent(database));
  RETURN_IF_ERROR(database.Run(
      "DELETE FROM events WHERE (at_unix_ms < ?1 OR seq <= ?2) AND seq IN"
      " (SELECT seq FROM events ORDER BY seq LIMIT ?3)",
      ToUnixMillis(before), newest - kMaxEvents, limit));
  return database.ChangedRows() < limit;
}

}  // namespace steadyrun
