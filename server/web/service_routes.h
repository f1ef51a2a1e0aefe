#pragma once

#include <functional>
#include <string>

#include "server/rpc/backend.h"
#include "server/web/route_table.h"

namespace steadyrun {

// What machines ask the service about itself: /healthz and /readyz, open to
// all; /metrics and, for Prometheus, which agents serve their own. `live`
// outlives the table.
void AddServiceRoutes(const LiveState* live,
                      std::function<std::string()> render_metrics,
                      RouteTable* routes);

}  // namespace steadyrun
