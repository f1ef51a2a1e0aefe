#pragma once

#include "server/rpc/operator_api.h"
#include "server/web/route_table.h"

namespace steadyrun {

// GET sugar for the queries of OperatorService, below /api/v1/: runs and what
// belongs to one, incidents, nodes, the audit trail and the journal. `api`
// outlives the table.
void AddQueryRoutes(const OperatorApi* api, RouteTable* routes);

}  // namespace steadyrun
