#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/model/incident.h"
#include "server/storage/event_log.h"
#include "server/storage/site_alerts.h"
#include "server/storage/sqlite.h"
#include "server/storage/write_gate.h"

namespace steadyrun {

// What a sink was last told of one incident.
struct ToldIncident {
  IncidentKind kind = IncidentKind::kCrash;
  IncidentState state = IncidentState::kOpen;
  Severity severity = Severity::kCritical;
  WallTime at;
};
using IncidentKey = std::pair<RunId, std::int64_t>;

// Everything that decides what one sink is to be told.
struct NoticeFacts {
  std::vector<Incident> incidents;  // Open, or of the last day; by run, number.
  std::map<IncidentKey, ToldIncident> told;
  std::map<RunId, WallTime> muted_until;  // Expired ones too.
  WallTime since;  // What ended before is old news to this sink.
  std::vector<StoredEvent> pages;  // Not delivered yet; oldest first.
};

// The storage side of notifications and of alerts that others send: a
// connection of its own, beside the engine's. Thread-safe. Errors as in Store.
class NoticeStore final : public SiteAlerts {
 public:
  // `gate` outlives this; the database exists and is migrated.
  static absl::StatusOr<std::unique_ptr<NoticeStore>> Open(
      const std::string& path, WriteGate* gate);

  // A sink that was never seen before is noted: it is told of what is open,
  // and of nothing that has ended.
  absl::StatusOr<NoticeFacts> Read(const std::string& sink, WallTime now);
  absl::Status MarkTold(const std::string& sink, const Incident& incident,
                        WallTime now);
  // Pages up to `seq` need no delivery any more.
  absl::Status MarkPages(const std::string& sink, std::int64_t seq);
  // Open ones and those of the last day, whatever anybody was told.
  absl::StatusOr<std::vector<Incident>> Incidents(WallTime now);

  absl::Status Save(const std::vector<SiteAlert>& alerts) override;
  absl::StatusOr<std::vector<SiteAlert>> Find(
      const SiteAlertQuery& query) override;

  // Incidents and pages of one reading. A sink that is further behind is told
  // of the newest pages, and of the rest of the incidents afterwards.
  static constexpr std::int32_t kMaxIncidents = 2000;
  static constexpr std::int32_t kMaxPages = 256;

 private:
  NoticeStore(std::unique_ptr<Database> database, WriteGate* gate);
  absl::Status ReadSink(const std::string& sink, WallTime now,
                        NoticeFacts* facts, std::int64_t* page_seq)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FindOf(std::string_view sql, const std::string& whose,
                      const SiteAlertQuery& query,
                      std::vector<SiteAlert>* found)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<Incident>> ReadIncidents(const std::string& sink,
                                                      WallTime now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;  // Of the connection; taken before the gate's.
  const std::unique_ptr<Database> database_ ABSL_GUARDED_BY(mutex_);
  WriteGate* const gate_;
};

}  // namespace steadyrun
