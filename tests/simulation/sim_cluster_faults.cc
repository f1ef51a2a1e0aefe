// What is done to the ground truth on purpose, and what is true of it.

#include <algorithm>
#include <utility>

#include "tests/simulation/sim_cluster.h"

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

void SimCluster::KillRank(int id) {
  DieOrdered(id, context_.now(), 9);  // Not by its agent, though.
}

void SimCluster::ExitRank(int id, const std::string& error) {
  const Process& process = processes_[id];
  const bool is_in_kernel =
      nodes_[process.node].unkillable_until > context_.now();
  if (!IsExecuting(process) || is_in_kernel) return;
  Die(id, {.code = 1}, error, false, true);
}

void SimCluster::StopRank(int id) {
  Process& process = processes_[id];
  if (!process.is_alive) return;
  process.is_stopped = true;
  NoteStalls();
}

void SimCluster::ContinueRank(int id) {
  Process& process = processes_[id];
  if (!process.is_alive || !process.is_stopped) return;
  process.is_stopped = false;
  if (IsExecuting(process)) Resumed(id);
  WakeAll();
}

void SimCluster::HangRank(int id) {
  Process& process = processes_[id];
  if (!process.is_alive || process.is_finished) return;
  process.is_hung = true;
  Enter(process, Phase::kForward);
  NoteDamage(process, fmt::format("rank {} hangs", process.rank.value));
}

void SimCluster::PoisonRank(int id) { poison_next_[id] = true; }

void SimCluster::SlowDown(const RunId& run, double factor) {
  slowness_[run] = factor;
}

void SimCluster::LongPhase(const RunId& run, Phase phase, Duration length) {
  long_phase_[run] = {phase, length};
}

void SimCluster::CutTraining(int node, bool is_cut) {
  nodes_[node].is_training_cut = is_cut;
  WakeAll();
}

void SimCluster::CrashNode(int node_index) {
  Node& node = nodes_[node_index];
  node.is_up = false;
  node.is_paused = false;
  node.unkillable_until = Duration(0);
  for (const int id : LiveOn(node_index)) {
    Die(id, {.signal = 9}, "", false, false);
  }
  node.recorder.clear();
  node.exit_records.clear();
}

void SimCluster::Orphan(int node) {
  for (const int id : LiveOn(node)) {
    NoteDamage(processes_[id], "its agent lost its state");
  }
}

void SimCluster::PauseNode(int node) {
  nodes_[node].is_paused = true;
  NoteStalls();
}

void SimCluster::ResumeNode(int node) {
  if (!std::exchange(nodes_[node].is_paused, false)) return;
  for (const int id : LiveOn(node)) {
    if (IsExecuting(processes_[id])) Resumed(id);
  }
  WakeAll();
}

void SimCluster::Resumed(int id) {
  Process& process = processes_[id];
  if (process.has_late_save) {
    FinishSave(id);
  } else if (process.has_late_death && process.step >= Step{0} &&
             context_.random.Chance(context_.faults.zombie_saves)) {
    // It was about to save when it was stopped, and does so now.
    WriteShard(process, process.step);
  }
  if (process.is_alive && process.has_late_death) {
    process.has_late_death = false;
    DieSoon(id, context_.random.Time(milliseconds(10), seconds(2)));
  }
}

void SimCluster::Cling(int node, Duration until) {
  nodes_[node].unkillable_until =
      std::max(nodes_[node].unkillable_until, until);
}

bool SimCluster::CorruptNewest(const RunId& run) {
  StoredShard* newest = nullptr;
  for (auto& [path, shard] : shards_) {
    if (shard.run != run || !shard.is_intact) continue;
    if (newest == nullptr || shard.step > newest->step ||
        (shard.step == newest->step && shard.attempt > newest->attempt)) {
      newest = &shard;
    }
  }
  if (newest == nullptr) return false;
  newest->is_intact = false;
  // An agent of the run's nodes re-reads the newest shards every 5 s.
  CheckpointShardBad bad;
  bad.run = newest->run;
  bad.attempt = newest->attempt;
  bad.step = newest->step;
  bad.rank = newest->rank;
  for (const auto& [path, shard] : shards_) {
    if (&shard == newest) bad.path = path;
  }
  bad.error = "digest differs";
  for (const int id : live_) {
    const Process& process = processes_[id];
    if (process.run == run && process.rank == newest->rank) {
      nodes_[process.node].recorder.push_back(
          {context_.now() + context_.random.Time(milliseconds(100), seconds(5)),
           bad});
      break;
    }
  }
  return true;
}

int SimCluster::LiveCount(const RunId& run, AttemptId attempt) const {
  return static_cast<int>(std::ranges::count_if(live_, [&](int id) {
    return processes_[id].run == run && processes_[id].attempt == attempt;
  }));
}

const AttemptTruth* SimCluster::TruthOf(const RunId& run,
                                        AttemptId attempt) const {
  const auto it = truth_.find({run, attempt});
  return it == truth_.end() ? nullptr : &it->second;
}

const StoredShard* SimCluster::FindShard(const std::string& path) const {
  const auto it = shards_.find(path);
  return it == shards_.end() ? nullptr : &it->second;
}

void SimCluster::NoteDamage(const Process& process, const std::string& what) {
  AttemptTruth& truth = truth_[{process.run, process.attempt}];
  if (truth.damaged) return;
  truth.damaged = context_.now();
  truth.damage = what;
  context_.trace.Line(context_.now(), "truth", "{}/{} cannot go on: {}",
                      process.run, process.attempt.value, what);
}

// An attempt stands still, for a cause that may go away again.
void SimCluster::NoteStalls() {
  std::map<std::pair<RunId, AttemptId>, bool> standing;
  for (const int id : live_) {
    const Process& process = processes_[id];
    bool& stands = standing[{process.run, process.attempt}];
    stands =
        stands || !IsExecuting(process) || nodes_[process.node].is_training_cut;
  }
  for (const auto& [key, stands] : standing) {
    AttemptTruth& truth = truth_[key];
    if (stands && !truth.stalled) {
      truth.stalled = context_.now();
    } else if (!stands && truth.stalled) {
      truth.last_stall = context_.now() - *truth.stalled;
      truth.stall_ended = context_.now();
      truth.stalled.reset();
    }
  }
}

}  // namespace steadyrun::sim
