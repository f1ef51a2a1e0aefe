#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "server/model/incident.h"
#include "server/storage/history.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

absl::Status SaveIncident(const Incident& incident, Database& database);
// Newest first.
absl::StatusOr<std::vector<Incident>> LoadIncidents(
    Database& database, const IncidentFilter& filter);
// Oldest first, all of them: what the engine starts from.
absl::StatusOr<std::vector<Incident>> LoadOpenIncidents(Database& database);
// NOT_FOUND names the incident.
absl::StatusOr<Incident> LoadIncident(Database& database, const RunId& run,
                                      std::int64_t number);

}  // namespace steadyrun
