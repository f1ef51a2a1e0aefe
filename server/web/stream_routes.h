#pragma once

#include "server/web/event_hub.h"
#include "server/web/journal_feed.h"
#include "server/web/route_table.h"

namespace steadyrun {

// Server-sent events: /api/v1/events for the dashboard, /api/v1/journal/stream
// for automation. Null: not served here. Both outlive the table.
void AddStreamRoutes(EventHub* events, JournalFeed* journal,
                     RouteTable* routes);

}  // namespace steadyrun
