#pragma once

// The `events` table: what happened, numbered, for notifications and for
// programs that follow the service.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/effect.h"
#include "server/storage/event_log.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// Each within the transaction that commits the change itself. An incident is
// an event when it is new, or when its state or severity changes: called
// before the incident is saved.
absl::Status AppendIncidentEvent(const Incident& incident, WallTime now,
                                 Database& database);
absl::Status AppendEvent(const Decision& decision, Database& database);
absl::Status AppendEvent(const Page& page, WallTime now, Database& database);
absl::Status SaveMute(const Mute& mute, WallTime now, Database& database);

absl::StatusOr<std::vector<StoredEvent>> LoadEvents(Database& database,
                                                    const EventQuery& query);
absl::StatusOr<std::int64_t> NewestEvent(Database& database);

// Deletes at most `limit` of the oldest that are older than `before`, or
// beyond the newest kMaxEvents. True: nothing is left to delete.
absl::StatusOr<bool> PruneEvents(WallTime before, std::int64_t limit,
                                 Database& database);
// A year of a busy fleet at some 500 events a day; about 40 MB.
inline constexpr std::int64_t kMaxEvents = 200'000;

}  // namespace steadyrun
