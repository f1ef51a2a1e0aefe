#include "server/storage/notice_store.h"

#include <algorithm>

#include "base/status_macros.h"
#include "server/storage/event_table.h"
#include "server/storage/state_codec.h"
#include "server/storage/stored_name.h"

namespace steadyrun {
namespace {

constexpr auto kRecent = std::chrono::hours(24);

}  // namespace

absl::StatusOr<std::unique_ptr<NoticeStore>> NoticeStore::Open(
    const std::string& path, WriteGate* gate) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                   Database::Open(path, Database::Mode::kReadWrite));
  // NORMAL: a note that is lost with the machine means a notification that is
  // sent twice, which "at least once" allows.
  RETURN_IF_ERROR(
      database->RunScript("PRAGMA synchronous = NORMAL;"
                          "PRAGMA wal_autocheckpoint = 0;"));
  return std::unique_ptr<NoticeStore>(
      new NoticeStore(std::move(database), gate));
}

NoticeStore::NoticeStore(std::unique_ptr<Database> database, WriteGate* gate)
    : database_(std::move(database)), gate_(gate) {}

absl::Status NoticeStore::ReadSink(const std::string& sink, WallTime now,
                                   NoticeFacts* facts, std::int64_t* page_seq) {
  bool is_known = false;
  const auto read = [&](const Row& row) {
    is_known = true;
    facts->since = FromUnixMillis(row.Int(0));
    *page_seq = row.Int(1);
    return absl::OkStatus();
  };
  constexpr std::string_view kSelect =
      "SELECT since_unix_ms, page_seq FROM notice_sinks WHERE sink = ?";
  RETURN_IF_ERROR(database_->Query(kSelect, read, sink));
  if (is_known) return absl::OkStatus();
  {
    absl::MutexLock gate(&gate_->mutex());
    RETURN_IF_ERROR(gate_->Fatal());
    ASSIGN_OR_RETURN(const std::int64_t newest, NewestEvent(*database_));
    RETURN_IF_ERROR(gate_->Note(database_->Run(
        "INSERT INTO notice_sinks (sink, since_unix_ms, page_seq)"
        " VALUES (?, ?, ?)",
        sink, ToUnixMillis(now), newest)));
  }
  return database_->Query(kSelect, read, sink);
}

absl::StatusOr<std::vector<Incident>> NoticeStore::ReadIncidents(
    const std::string& sink, WallTime now) {
  std::vector<Incident> incidents;
  RETURN_IF_ERROR(database_->Query(
      "SELECT incident FROM incidents WHERE rowid IN ("
      " SELECT rowid FROM incidents WHERE state = 'open'"
      " UNION SELECT rowid FROM incidents WHERE detected_unix_ms >= ?1"
      " UNION SELECT i.rowid FROM notified n JOIN incidents i"
      "  ON i.run = n.run AND i.number = n.incident"
      "  WHERE n.sink = ?2 AND n.state = 'open')"
      " ORDER BY run, number LIMIT ?3",
      [&](const Row& row) {
        ASSIGN_OR_RETURN(Incident incident, DecodeIncident(row.Bytes(0)));
        incidents.push_back(std::move(incident));
        return absl::OkStatus();
      },
      ToUnixMillis(now - kRecent), sink, kMaxIncidents));
  return incidents;
}

absl::StatusOr<std::vector<Incident>> NoticeStore::Incidents(WallTime now) {
  absl::MutexLock lock(&mutex_);
  return ReadIncidents("", now);
}

absl::StatusOr<NoticeFacts> NoticeStore::Read(const std::string& sink,
                                              WallTime now) {
  absl::MutexLock lock(&mutex_);
  NoticeFacts facts;
  std::int64_t page_seq = 0;
  RETURN_IF_ERROR(ReadSink(sink, now, &facts, &page_seq));
  ASSIGN_OR_RETURN(facts.incidents, ReadIncidents(sink, now));
  RETURN_IF_ERROR(database_->Query(
      "SELECT run, incident, kind, state, severity, at_unix_ms FROM notified"
      " WHERE sink = ?1 AND (state = 'open' OR at_unix_ms >= ?2)",
      [&](const Row& row) {
        ToldIncident told;
        ASSIGN_OR_RETURN(
            told.kind,
            ParseStoredName(row.Text(2), kLastIncidentKind, &IncidentKindName));
        ASSIGN_OR_RETURN(told.state,
                         ParseStoredName(row.Text(3), IncidentState::kClosed,
                                         &IncidentStateName));
        ASSIGN_OR_RETURN(
            told.severity,
            ParseStoredName(row.Text(4), Severity::kCritical, &SeverityName));
        told.at = FromUnixMillis(row.Int(5));
        facts.told[{RunId(row.Text(0)), row.Int(1)}] = told;
        return absl::OkStatus();
      },
      sink, ToUnixMillis(now - 2 * kRecent)));
  RETURN_IF_ERROR(database_->Query(
      "SELECT run, until_unix_ms FROM mutes", [&](const Row& row) {
        facts.muted_until[RunId(row.Text(0))] = FromUnixMillis(row.Int(1));
        return absl::OkStatus();
      }));
  RETURN_IF_ERROR(database_->Query(
      "SELECT seq, at_unix_ms, run, incident, text FROM events"
      " WHERE kind = 'page' AND seq > ?1 ORDER BY seq DESC LIMIT ?2",
      [&](const Row& row) {
        StoredEvent page;
        page.seq = row.Int(0);
        page.at = FromUnixMillis(row.Int(1));
        page.kind = "page";
        page.run = RunId(row.Text(2));
        page.incident = row.Int(3);
        page.text = std::string(row.Text(4));
        facts.pages.push_back(std::move(page));
        return absl::OkStatus();
      },
      page_seq, kMaxPages));
  std::reverse(facts.pages.begin(), facts.pages.end());
  return facts;
}

absl::Status NoticeStore::MarkTold(const std::string& sink,
                                   const Incident& incident, WallTime now) {
  absl::MutexLock lock(&mutex_);
  absl::MutexLock gate(&gate_->mutex());
  RETURN_IF_ERROR(gate_->Fatal());
  return gate_->Note(database_->Run(
      "INSERT INTO notified (sink, run, incident, kind, state, severity,"
      " at_unix_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
      " ON CONFLICT (sink, run, incident) DO UPDATE SET kind = ?4, state = ?5,"
      " severity = ?6, at_unix_ms = ?7",
      sink, incident.run, incident.number, IncidentKindName(incident.kind),
      IncidentStateName(incident.state), SeverityName(incident.severity),
      ToUnixMillis(now)));
}

absl::Status NoticeStore::MarkPages(const std::string& sink, std::int64_t seq) {
  absl::MutexLock lock(&mutex_);
  absl::MutexLock gate(&gate_->mutex());
  RETURN_IF_ERROR(gate_->Fatal());
  return gate_->Note(database_->Run(
      "UPDATE notice_sinks SET page_seq = max(page_seq, ?2) WHERE sink = ?1",
      sink, seq));
}

absl::Status NoticeStore::Save(const std::vector<SiteAlert>& alerts) {
  absl::MutexLock lock(&mutex_);
  absl::MutexLock gate(&gate_->mutex());
  RETURN_IF_ERROR(gate_->Fatal());
  ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(*database_));
  for (const SiteAlert& alert : alerts) {
    RETURN_IF_ERROR(gate_->Note(database_->Run(
        "INSERT INTO site_alerts (fingerprint, name, severity, run, node,"
        " starts_unix_ms, ends_unix_ms, text)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        " ON CONFLICT (fingerprint) DO UPDATE SET severity = ?3,"
        " starts_unix_ms = ?6, ends_unix_ms = ?7, text = ?8",
        alert.fingerprint, alert.name, alert.severity, alert.run, alert.node,
        ToUnixMillis(alert.starts), ToUnixMillis(alert.ends), alert.text)));
  }
  RETURN_IF_ERROR(
      gate_->Note(database_->Run("DELETE FROM site_alerts WHERE id <="
                                 " (SELECT max(id) FROM site_alerts) - ?",
                                 kMaxStored)));
  return gate_->Note(transaction.Commit());
}

absl::Status NoticeStore::FindOf(std::string_view sql, const std::string& whose,
                                 const SiteAlertQuery& query,
                                 std::vector<SiteAlert>* found) {
  return database_->Query(
      sql,
      [&](const Row& row) {
        SiteAlert alert;
        alert.fingerprint = std::string(row.Text(0));
        alert.name = std::string(row.Text(1));
        alert.severity = std::string(row.Text(2));
        alert.run = RunId(row.Text(3));
        alert.node = NodeId(row.Text(4));
        alert.starts = FromUnixMillis(row.Int(5));
        alert.ends = FromUnixMillis(row.Int(6));
        alert.text = std::string(row.Text(7));
        found->push_back(std::move(alert));
        return absl::OkStatus();
      },
      whose, ToUnixMillis(query.from), ToUnixMillis(query.to), kMaxFound);
}

absl::StatusOr<std::vector<SiteAlert>> NoticeStore::Find(
    const SiteAlertQuery& query) {
  constexpr std::string_view kOfRun =
      "SELECT fingerprint, name, severity, run, node, starts_unix_ms,"
      " ends_unix_ms, text FROM site_alerts WHERE run = ?1"
      " AND starts_unix_ms <= ?3 AND (ends_unix_ms = 0 OR ends_unix_ms >= ?2)"
      " ORDER BY starts_unix_ms DESC LIMIT ?4";
  constexpr std::string_view kOfNode =
      "SELECT fingerprint, name, severity, run, node, starts_unix_ms,"
      " ends_unix_ms, text FROM site_alerts WHERE node = ?1 AND run = ''"
      " AND starts_unix_ms <= ?3 AND (ends_unix_ms = 0 OR ends_unix_ms >= ?2)"
      " ORDER BY starts_unix_ms DESC LIMIT ?4";
  absl::MutexLock lock(&mutex_);
  std::vector<SiteAlert> found;
  RETURN_IF_ERROR(FindOf(kOfRun, query.run, query, &found));
  for (const NodeId& node : query.nodes) {
    if (node.empty()) continue;
    RETURN_IF_ERROR(FindOf(kOfNode, node, query, &found));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const SiteAlert& a, const SiteAlert& b) {
                     return a.starts > b.starts;
                   });
  if (found.size() > kMaxFound) found.resize(kMaxFound);
  return found;
}

}  // namespace steadyrun
