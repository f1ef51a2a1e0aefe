#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/model/checkpoint.h"
#include "server/model/incident.h"
#include "server/model/records.h"
#include "server/model/run_state.h"

namespace steadyrun {

// All durable state the engine starts from, as the store loads it. Times on
// the monotonic clock are already re-based to the new process.
struct Snapshot {
  std::uint64_t server_epoch = 0;  // Already incremented and committed.
  std::string server_id;
  std::vector<RunState> runs;
  std::vector<Incident> open_incidents;
  std::vector<Checkpoint> checkpoints;  // Of runs that are not ended.
  std::vector<NodeRecord> nodes;
  std::vector<NodeCursor> cursors;
  // request_ids carried out in the last 7 days, with the reply given.
  std::vector<std::pair<std::string, std::string>> requests;
};

}  // namespace steadyrun
