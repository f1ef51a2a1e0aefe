#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agent/supervisor/process_handle.h"
#include "agent/supervisor/shim_record.h"
#include "agent/supervisor/supervisor.h"
#include "base/clock.h"

namespace steadyrun::agent {

enum class TrackPhase {
  kStarting,  // The shim runs; it has not said yet how the start went.
  kRunning,
  kShimGone,  // The shim has ended; not yet proved that nothing is left.
  kGone,
};

struct KillOrder {
  MonoTime kill_at;                    // When SIGKILL is due.
  std::optional<MonoTime> first_kill;  // By the agent itself, pid by pid.
  bool is_sent = false;
};

// What the supervisor knows of one rank.
struct TrackedRank {
  RankKey key;
  std::int32_t local_rank = 0;
  std::string recorder_path;
  std::string log_format;
  RankFiles files;

  TrackPhase phase = TrackPhase::kStarting;
  ProcessHandle shim;
  std::int32_t shim_pid = 0;
  std::uint64_t shim_start_ticks = 0;
  bool is_child = false;
  std::optional<std::int32_t> shim_wait_status;  // If it was our child.

  std::optional<IdentityRecord> identity;
  std::string spawn_error;  // Not empty: the rank never ran.
  std::optional<KillOrder> order;
  ExitStatus exit;
  bool was_killed = false;
  bool is_reported = false;
  bool is_told = false;  // RankGone or RankSpawnFailed left in this life.
};

}  // namespace steadyrun::agent
