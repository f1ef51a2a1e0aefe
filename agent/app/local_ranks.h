#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/app/path_follower.h"
#include "agent/app/recorder_home.h"
#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "agent/logs/log_steps.h"
#include "agent/recorder/recorder_set.h"
#include "agent/supervisor/supervisor.h"
#include "base/clock.h"

namespace steadyrun::agent {

struct LocalRanksOptions {
  SupervisorOptions supervisor;
  std::string recorder_root;  // Of RecorderHome.
};

// The ranks of this node: their processes, flight recorders and logs, as one
// source of events in the right order: what a rank still wrote comes before
// its end. Used by the loop's thread; blocks for directory scans only.
class LocalRanks {
 public:
  static absl::StatusOr<std::unique_ptr<LocalRanks>> Create(
      LocalRanksOptions options);

  // Takes over what an earlier agent of this state directory left.
  std::vector<NodeRunState> Adopt(Now now);
  bool HasLeftovers() const { return supervisor_->HasLeftovers(); }

  // Answered by an event of a later Poll.
  void Spawn(const SpawnRank& spawn);
  void Kill(const KillRanks& order, Now now);
  SaveWordWritten WriteSave(const WriteSaveWord& order, Now now) {
    return recorders_.WriteSave(order, now);
  }
  void RemoveRun(const RunId& run);

  struct Readings {
    std::vector<Event> events;
    std::vector<CheckpointShard> saved;  // To be hashed.
    std::vector<std::string> log;
  };
  // `has_ended`: PollFd is readable.
  Readings Poll(Now now, bool has_ended);
  int PollFd() const { return supervisor_->PollFd(); }
  bool HasLive() const { return !live_.empty(); }
  std::size_t Live() const { return live_.size(); }

  // When all that Poll returned is in the spool, or MarkSavedReported names it.
  void CommitCursors();
  void MarkSavedReported(const CheckpointShard& shard) {
    recorders_.MarkSavedReported(shard);
  }
  void MarkExitReported(const RankKey& key) {
    supervisor_->MarkExitReported(key);
  }

 private:
  LocalRanks(LocalRanksOptions options, std::unique_ptr<Supervisor> supervisor);
  // Empty: no recorder could be made; the rank runs without one.
  std::string MakeRecorder(const SpawnRank& spawn);
  void Watch(const RankKey& key, const std::string& recorder_path,
             std::int32_t local_rank);
  // How its steps are read where its code does not report them.
  struct LogRequest {
    std::string format;
    std::string path;     // Empty: the rank's output.
    bool is_new = false;  // Of a rank that starts now.
  };
  void FollowLog(const RankKey& key, const LogRequest& request);
  void KeepLogPath(const RankKey& key, const std::string& path);
  void TakeReadings(RecorderReadings readings, Readings* out);
  void LeaveToLibrary(const StepBlock& block);
  void TakeLog(std::vector<Event> events, LogStepReader* reader, Readings* out);
  void TakePaths(Now now, Readings* out);
  RankObserved LastStepOf(const RankKey& key, Step step) const;
  void PollLogs(Now now, Readings* out);
  void TellUnkillable(Readings* out);
  void End(const RankExited& exit, Now now, Readings* out);

  const LocalRanksOptions options_;
  std::unique_ptr<Supervisor> supervisor_;
  const RecorderHome home_;
  RecorderSet recorders_;
  std::map<RankKey, LogStepReader> logs_;  // Of the ranks' output.
  PathFollower paths_;
  std::map<RankKey, std::int32_t> live_;  // With its pid; 0 not yet known.
  std::vector<Event> refused_;            // Spawns that failed before the fork.
  std::vector<std::string> log_;
  std::set<std::int32_t> unkillable_;  // Told already.
  MonoTime supervised_;                // When the supervisor was last asked.
  MonoTime logs_read_;
};

}  // namespace steadyrun::agent
