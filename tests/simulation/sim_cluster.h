#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "proto/messages/messages.h"
#include "tests/simulation/context.h"

namespace steadyrun::sim {

// How the training of one run behaves when nothing is wrong.
struct TrainingPlan {
  Duration step_time{std::chrono::seconds(1)};
  std::int64_t checkpoint_interval = 20;
  bool is_sharded = true;  // Every rank saves a shard; else rank 0 alone.
  Duration import_min{std::chrono::milliseconds(300)};
  Duration import_max{std::chrono::milliseconds(2500)};
  Duration first_step{std::chrono::seconds(3)};
  Duration save_time{std::chrono::milliseconds(800)};
};

// One rank's process, as it truly is.
struct Process {
  int id = 0;
  int node = 0;
  RunId run;
  AttemptId attempt;
  Rank rank = kNoRank;
  std::int32_t local_rank = 0;
  std::int32_t pid = 0;
  StartCommand start;  // With its own entry in `ranks`.

  bool is_alive = true;
  bool is_attached = false;  // Has opened its flight recorder.
  bool is_stopped = false;   // SIGSTOP to it alone.
  bool is_hung = false;      // Never arrives at the next collective.
  bool is_stuck = false;     // Waits for a dead peer.
  bool is_finished = false;
  bool kill_ordered = false;
  bool has_left_early = false;  // Was told to leave its loop after a save.
  int group = -1;               // -1: has not reached the rendezvous.

  Step step = kNoStep;
  Phase phase = Phase::kStartup;
  std::uint64_t phase_seq = 1;
  Duration phase_since{};
  Duration progress_since{};
  Duration spawned{};
  double cpu_seconds = 0;

  std::uint64_t save_seq = 0;
  std::uint64_t save_ack_seq = 0;
  Step save_step = kNoStep;
  bool save_then_stop = false;

  bool is_saving = false;
  bool leaves_after_save = false;
  bool has_late_save = false;  // The save is due, but the process is stopped.
  bool has_late_death = false;
  std::uint64_t death_token = 0;
};

// One file of a checkpoint.
struct StoredShard {
  RunId run;
  AttemptId attempt;
  Step step;
  Rank rank;
  std::int64_t size_bytes = 0;
  std::string sha256;
  bool is_intact = true;
  bool is_poisoned = false;  // Holds parameters that are not finite.
  std::int64_t saved_unix_ms = 0;
};

// What a flight recorder tells its agent. It outlives both.
using RecorderEvent =
    std::variant<StepBlock, CheckpointShard, CheckpointShardBad, RankFinished>;
struct TimedRecorderEvent {
  Duration ready;
  RecorderEvent event;
};

// Whether a run's attempt can go on by itself: the truth that decisions are
// measured by.
struct AttemptTruth {
  int spawned = 0;
  std::optional<Duration> damaged;  // For good: a rank gone, hung, or NaN.
  std::string damage;
  std::optional<Duration> stalled;  // Stands still just now, for a cause.
  std::optional<Duration> stall_ended;
  Duration last_stall{};
  std::optional<Step> first_bad_step;  // Not finite from here on.
  Step step = kNoStep;                 // Completed by all ranks.
};

class ClusterListener {
 public:
  virtual ~ClusterListener() = default;
  virtual void OnSpawned(const Process& process) = 0;
  virtual void OnGone(const Process& process) = 0;
  virtual void OnTrainingStarted(const std::vector<const Process*>& ranks) = 0;
};

// The machines' training processes: the ground truth.
class SimCluster {
 public:
  SimCluster(SimContext& context, ClusterListener& listener)
      : context_(context), listener_(listener) {}
  void AddNode() { nodes_.emplace_back(); }
  // Told after the listener: the node's agent.
  void SetOnGone(std::function<void(const Process&)> on_gone) {
    on_gone_ = std::move(on_gone);
  }
  void SetPlan(const RunId& run, const TrainingPlan& plan) {
    plans_[run] = plan;
  }

  // --- What an agent does to its own node. ---------------------------------
  // The new process's id, or nothing if the spawn failed.
  std::optional<int> Spawn(int node, const RunId& run, AttemptId attempt,
                           const StartCommand& start);
  void Kill(int node, const RunId& run, AttemptId below, Duration grace);
  // False if a rank had passed the step already.
  bool WriteSaveWord(int node, const RunId& run, AttemptId attempt,
                     const SaveCommand& save);
  ShardCheck Check(const ShardRef& shard) const;
  // Live ranks as the agent reads them from recorders and /proc.
  RankState Observe(const Process& process) const;
  std::vector<int> LiveOn(int node) const;
  // Recorder events that are ready, and exit records; both taken.
  std::vector<RecorderEvent> TakeRecorderEvents(int node);
  void ReturnRecorderEvents(int node, std::vector<RecorderEvent> events);
  std::deque<RankExited>& ExitRecords(int node) {
    return nodes_[node].exit_records;
  }

  // --- Faults. ---------------------------------------------------------------
  void KillRank(int process);
  void ExitRank(int process, const std::string& error);
  void StopRank(int process);
  void ContinueRank(int process);
  void HangRank(int process);
  void PoisonRank(int process);  // Its next loss is NaN.
  void SlowDown(const RunId& run, double factor);
  void LongPhase(const RunId& run, Phase phase, Duration length);
  void CutTraining(int node, bool is_cut);
  void CrashAtStep(const RunId& run, std::optional<Step> step) {
    crash_at_[run] = step;
  }
  void NanAtStep(const RunId& run, std::optional<Step> step) {
    nan_at_[run] = step;
  }
  void FailNextSpawn(int node) { nodes_[node].fails_spawn = true; }
  void CrashNode(int node);  // No exit record is written.
  void BootNode(int node) { nodes_[node].is_up = true; }
  // The agent has forgotten its ranks and will kill them.
  void Orphan(int node);
  void PauseNode(int node);
  void ResumeNode(int node);
  void MakeUnkillable(int node, Duration until) {
    nodes_[node].unkillable_until = until;
  }
  // Also those that are being killed already live on until then.
  void Cling(int node, Duration until);
  // Changes bytes of the newest checkpoint; false if there is none.
  bool CorruptNewest(const RunId& run);

  // --- Truth. ----------------------------------------------------------------
  const Process& At(int process) const { return processes_[process]; }
  bool IsUp(int node) const { return nodes_[node].is_up; }
  bool IsPaused(int node) const { return nodes_[node].is_paused; }
  const std::vector<int>& Live() const { return live_; }
  int LiveCount(const RunId& run, AttemptId attempt) const;
  const AttemptTruth* TruthOf(const RunId& run, AttemptId attempt) const;
  const StoredShard* FindShard(const std::string& path) const;
  std::size_t size() const { return nodes_.size(); }

 private:
  struct Node {
    bool is_up = true;
    bool is_paused = false;
    bool is_training_cut = false;
    bool fails_spawn = false;
    Duration unkillable_until{};
    std::deque<TimedRecorderEvent> recorder;
    std::deque<RankExited> exit_records;
  };
  // The ranks that met at one rendezvous and step together (DDP).
  struct Group {
    RunId run;
    AttemptId attempt;
    std::int32_t world = 0;
    std::map<std::int32_t, int> members;  // Rank -> process.
    Step step = kNoStep;
    Duration step_began{};
    bool is_started = false;
    bool is_broken = false;
    bool is_blocked = false;
    bool is_poisoned = false;
    bool is_done = false;
    int saving = 0;
    std::uint64_t token = 0;
  };

  bool IsExecuting(const Process& process) const;
  bool CanStep(const Process& process) const;
  void Join(int process);
  void BeginTraining(int group);
  void Advance(int group, Duration extra);
  void StepDue(int group, std::uint64_t token);
  void FinishStep(int group);
  void WriteBlocks(Group& group, bool is_first_bad);
  void AfterStep(int group);
  bool BeginSaves(int group);
  void FinishSave(int process);
  void WriteShard(Process& process, Step step);
  void FinishRun(int group);
  void Enter(Process& process, Phase phase);
  void Wake(int group);
  void WakeAll();
  void Resumed(int process);
  void Die(int process, ExitStatus exit, const std::string& error,
           bool is_secondary, bool leaves_record);
  void MemberGone(int group, int process, bool has_vanished);
  void DieSoon(int process, Duration delay);
  void DieOrdered(int process, Duration at, std::int32_t signal);
  void NoteDamage(const Process& process, const std::string& what);
  void NoteStalls();

  SimContext& context_;
  ClusterListener& listener_;
  std::function<void(const Process&)> on_gone_;
  std::vector<Node> nodes_;
  std::deque<Process> processes_;  // By id; references stay valid.
  std::vector<int> live_;
  std::deque<Group> groups_;
  std::map<std::tuple<RunId, AttemptId, std::string>, int> group_by_key_;
  std::map<std::pair<RunId, AttemptId>, AttemptTruth> truth_;
  std::map<RunId, TrainingPlan> plans_;
  std::map<RunId, std::optional<Step>> crash_at_;
  std::map<RunId, std::optional<Step>> nan_at_;
  std::map<RunId, double> slowness_;
  std::map<RunId, std::pair<Phase, Duration>> long_phase_;
  std::map<std::string, StoredShard> shards_;
  std::map<int, bool> poison_next_;  // By process.
  std::int32_t next_pid_ = 1000;
};

}  // namespace steadyrun::sim
