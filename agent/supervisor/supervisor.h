#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun::agent {

struct RankKey {
  RunId run;
  AttemptId attempt;
  Rank rank;
  friend auto operator<=>(const RankKey&, const RankKey&) = default;
};

// Where the files of one rank of one attempt are.
struct RankFiles {
  std::string directory;
  std::string record;       // The shim's record (shim_record.h).
  std::string stdout_path;  // Files, never pipes: nothing of the agent can
  std::string stderr_path;  // stop the training from writing.
};

struct SupervisorOptions {
  std::string state_directory;  // Rank files live in <this>/ranks.
  std::string state_uuid;       // Marks this node's processes.
  NodeId node;
  std::string kernel_boot_id;
  std::string shim_path;  // The steadyrun-shim program.
  std::string proc_root = "/proc";
  // A shim that has not ended its rank this long after the order (and grace)
  // is passed over: every process of the rank is killed one by one.
  Duration escalate_after{std::chrono::seconds(1)};
  // Still alive this long after SIGKILL: reported as unkillable.
  Duration unkillable_after{std::chrono::seconds(10)};
};

// A rank process known to the supervisor.
struct RankProcess {
  RankKey key;
  RankLife life = RankLife::kStarting;
  std::int32_t local_rank = 0;
  std::int32_t pid = 0;           // Of the rank; 0 not yet known.
  std::string recorder_path;      // Empty: none.
  std::string log_format;         // Of its Start command.
  ExitStatus exit;                // When exited.
  bool is_exit_reported = false;  // MarkExitReported was called for it.
  bool was_killed = false;        // On our order.
  friend bool operator==(const RankProcess&, const RankProcess&) = default;
};

// A process that SIGKILL does not end (state D, or another user's).
struct UnkillableProcess {
  RankKey key;
  std::int32_t pid = 0;
  char state = 0;
  std::string wait_channel;
};

// Starts, watches and kills the ranks of this node. Each rank has a shim for
// a parent, which outlives this agent, kills all descendants of its rank when
// it ends, and leaves the exit status on disk; a restarted agent takes the
// ranks over again from the records of the shims.
//
// "Gone" is proved, never assumed: the shim has ended and no process carries
// the rank's marker or session any more. Processes are named by pidfd and
// start time, so that a reused pid is never signalled.
//
// Nothing here blocks for longer than a directory scan. Not thread-safe.
class Supervisor {
 public:
  // Makes the directories. INVALID_ARGUMENT: no shim at shim_path.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(
      SupervisorOptions options);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Once, before anything else: takes over what an earlier agent of this
  // state directory left. A rank whose exit was not yet reported comes back
  // as alive, and the next Poll tells of its end. Ranks of an earlier boot
  // are removed. `floor` of the result is left for the core.
  std::vector<NodeRunState> Adopt(Now now);
  // True while processes of an identity that this state directory has lost
  // still run. They are being killed; until they are gone the agent must not
  // say Hello, since a new boot id claims that nothing of before lives.
  bool HasLeftovers() const;

  RankFiles FilesOf(const RankKey& key) const;

  // Answered by RankSpawned or RankSpawnFailed from a later Poll. Refuses
  // (RankSpawnFailed) while another attempt of the run lives here, and if
  // this rank of this attempt was ever spawned before.
  // The rank gets `base_environment` (OwnEnvironment) without its secrets,
  // then the command's, then what the agent says (RankEnvironment).
  // `local_world_size`: ranks of this start on this node; 0 unknown.
  void Spawn(const SpawnRank& spawn, const std::string& recorder_path,
             const std::map<std::string, std::string>& base_environment,
             std::int32_t local_world_size);

  // Orders the end of every process of `run` with an attempt below `below`:
  // SIGTERM first and SIGKILL after `grace`; at once if it is zero. Repeating
  // it does no harm; a shorter grace replaces a longer one.
  void Kill(const RunId& run, AttemptId below, Duration grace, Now now);

  // RankSpawned, RankSpawnFailed, RankGone that have happened since. Call it
  // every 10 ms or when PollFd is readable. Drain the rank's flight recorder
  // before handing RankGone to the core, so that its last steps come first.
  std::vector<Event> Poll(Now now);
  int PollFd() const;  // Readable when a shim has ended.

  // After the rank's RankExited is durable in the spool: it is not reported
  // again by a restarted agent.
  void MarkExitReported(const RankKey& key);

  // Removes the files of the run. FAILED_PRECONDITION while a rank lives.
  absl::Status RemoveRun(const RunId& run);

  std::vector<RankProcess> Ranks() const;  // Ordered by key.
  std::vector<UnkillableProcess> Unkillable() const;

 private:
  class Impl;
  explicit Supervisor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun::agent
