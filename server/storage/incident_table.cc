#include "server/storage/incident_table.h"

#include "server/storage/state_codec.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

absl::Status ReadRow(const Row& row, std::vector<Incident>* incidents) {
  absl::StatusOr<Incident> incident = DecodeIncident(row.Bytes(2));
  if (!incident.ok()) {
    return absl::Status(
        incident.status().code(),
        fmt::format("incident '{}:{}': {}", row.Text(0), row.Int(1),
                    std::string(incident.status().message())));
  }
  incidents->push_back(*std::move(incident));
  return absl::OkStatus();
}

}  // namespace

absl::Status SaveIncident(const Incident& incident, Database& database) {
  return database.Run(
      "INSERT INTO incidents (run, number, kind, severity, state, attempt,"
      " node, rank, onset_unix_ms, detected_unix_ms, recovered_unix_ms,"
      " remediation, incident)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
      " ON CONFLICT (run, number) DO UPDATE SET kind = ?3, severity = ?4,"
      " state = ?5, attempt = ?6, node = ?7, rank = ?8, onset_unix_ms = ?9,"
      " detected_unix_ms = ?10, recovered_unix_ms = ?11, remediation = ?12,"
      " incident = ?13",
      incident.run, incident.number, IncidentKindName(incident.kind),
      SeverityName(incident.severity), IncidentStateName(incident.state),
      incident.attempt.value, incident.culprit.node,
      incident.culprit.rank.value, ToUnixMillis(incident.onset),
      ToUnixMillis(incident.detected), ToUnixMillis(incident.recovered),
      incident.remediation, Blob{EncodeIncident(incident)});
}

absl::StatusOr<std::vector<Incident>> LoadIncidents(
    Database& database, const IncidentFilter& filter) {
  std::vector<Incident> incidents;
  RETURN_IF_ERROR(database.Query(
      "SELECT run, number, incident FROM incidents"
      " WHERE (?1 = '' OR run = ?1) AND (NOT ?2 OR state = 'open')"
      " ORDER BY detected_unix_ms DESC, run, number DESC LIMIT ?3",
      [&](const Row& row) { return ReadRow(row, &incidents); }, filter.run,
      filter.only_open, filter.limit));
  return incidents;
}

absl::StatusOr<std::vector<Incident>> LoadOpenIncidents(Database& database) {
  std::vector<Incident> incidents;
  RETURN_IF_ERROR(database.Query(
      "SELECT run, number, incident FROM incidents WHERE state = 'open'"
      " ORDER BY run, number",
      [&](const Row& row) { return ReadRow(row, &incidents); }));
  return incidents;
}

absl::StatusOr<Incident> LoadIncident(Database& database, const RunId& run,
                                      std::int64_t number) {
  std::vector<Incident> found;
  RETURN_IF_ERROR(database.Query(
      "SELECT run, number, incident FROM incidents"
      " WHERE run = ? AND number = ?",
      [&](const Row& row) { return ReadRow(row, &found); }, run, number));
  if (found.empty()) {
    return absl::NotFoundError(fmt::format("no incident '{}:{}'", run, number));
  }
  return std::move(found.front());
}

}  // namespace steadyrun
