#pragma once

// Which notifications are due to one place. Pure: the time is an argument.

#include <string>
#include <vector>

#include "base/clock.h"
#include "server/model/incident.h"
#include "server/storage/notice_store.h"

namespace steadyrun {

enum class NoticeKind {
  kOpened,
  kEscalated,  // Its severity rose since it was told.
  kReminder,   // Still open.
  kResolved,   // Recovered, or closed with its run.
  kPage,       // The service says something of a run, or of itself.
};
std::string_view NoticeKindName(NoticeKind kind);  // "opened", ...

struct Notice {
  NoticeKind kind = NoticeKind::kOpened;
  Incident incident;  // All but kPage.
  StoredEvent page;   // kPage only.
};

// What goes out as one message: of one run. An empty run: of the service.
struct NoticeGroup {
  RunId run;
  std::vector<Notice> notices;  // In the order in which they happened.
};

struct NoticeOptions {
  // An incident that stays open is told again after this. METR counted 45 of
  // 58 notifications as repetitions; 4 h is once a shift.
  Duration remind_after{std::chrono::hours(4)};
  // Hysteresis: after a kind was told of a run, another incident of this kind
  // is told once this has passed and it is still open. At once if it is more
  // severe. A fault that comes and goes is thus told six times an hour at most.
  Duration flap_window{std::chrono::minutes(10)};
  Severity min_severity = Severity::kWarning;
};

// By run, each group with what is due of it. Nothing of a muted run: what has
// ended when the mute is over is not told any more, what is open is.
std::vector<NoticeGroup> PlanNotices(const NoticeFacts& facts, WallTime now,
                                     const NoticeOptions& options);

// When it ended, as far as its record says.
WallTime EndOf(const Incident& incident);

}  // namespace steadyrun
