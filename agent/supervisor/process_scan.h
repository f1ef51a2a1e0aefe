#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "agent/collectors/process_stat.h"
#include "agent/supervisor/supervisor.h"

namespace steadyrun::agent {

// A process that belongs to a rank of this node.
struct MarkedProcess {
  RankKey key;
  ProcessStat stat;
  bool is_leftover = false;  // Of an identity that the state directory lost.
};

// The session of a rank: its shim is the leader.
struct RankSession {
  RankKey key;
  std::uint64_t shim_start_ticks = 0;
};

struct ScanInput {
  std::string state_uuid;
  std::string state_directory;
  std::map<std::int32_t, RankSession> sessions;  // By the shim's pid.
};

// Every living process that carries the marker in its environment
// (agent/recorder/environment.h) or is in the session of one of the ranks,
// which covers those that wrote over their environment. Reads all of /proc:
// milliseconds. A process that left the session and has changed its
// environment escapes both; only its shim, as a subreaper, ends it.
std::vector<MarkedProcess> FindMarkedProcesses(const ProcessTable& table,
                                               const ScanInput& input);

}  // namespace steadyrun::agent
