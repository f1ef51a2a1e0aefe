#include "tests/simulation/sim_cluster.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr Duration kRendezvousTimeout = seconds(300);
constexpr std::int32_t kSigKill = 9;
constexpr std::int32_t kSigTerm = 15;

}  // namespace

bool SimCluster::IsExecuting(const Process& process) const {
  const Node& node = nodes_[process.node];
  return process.is_alive && !process.is_stopped && node.is_up &&
         !node.is_paused;
}

bool SimCluster::CanStep(const Process& process) const {
  return IsExecuting(process) && !process.is_hung && !process.is_stuck &&
         !nodes_[process.node].is_training_cut;
}

void SimCluster::Enter(Process& process, Phase phase) {
  process.phase = phase;
  process.phase_since = process.progress_since = context_.now();
  ++process.phase_seq;
}

std::optional<int> SimCluster::Spawn(int node_index, const RunId& run,
                                     AttemptId attempt,
                                     const StartCommand& start) {
  Node& node = nodes_[node_index];
  AttemptTruth& truth = truth_[{run, attempt}];
  ++truth.spawned;
  if (std::exchange(node.fails_spawn, false)) {
    if (!truth.damaged) {
      truth.damaged = context_.now();
      truth.damage = "a spawn failed";
    }
    return std::nullopt;
  }
  const int id = static_cast<int>(processes_.size());
  Process& process = processes_.emplace_back();
  process.id = id;
  process.node = node_index;
  process.run = run;
  process.attempt = attempt;
  process.rank = start.ranks.front().rank;
  process.local_rank = start.ranks.front().local_rank;
  process.pid = next_pid_++;
  process.start = start;
  process.phase_since = process.progress_since = process.spawned =
      context_.now();
  live_.push_back(id);
  listener_.OnSpawned(process);

  const TrainingPlan& plan = plans_[run];
  const Duration import =
      context_.random.Time(plan.import_min, plan.import_max);
  context_.queue.After(import, [this, id] { Join(id); });
  return id;
}

void SimCluster::Join(int id) {
  Process& process = processes_[id];
  if (!process.is_alive) return;
  if (!IsExecuting(process)) {
    context_.queue.After(seconds(1), [this, id] { Join(id); });
    return;
  }
  process.is_attached = true;
  const RankStart& self = process.start.ranks.front();
  if (!self.resume_path.empty()) {
    const auto shard = shards_.find(self.resume_path);
    if (shard == shards_.end() || !shard->second.is_intact) {
      Die(id, {.code = 1}, "RuntimeError: checkpoint shard does not load",
          false, true);
      return;
    }
  }
  const auto key = std::tuple(process.run, process.attempt,
                              fmt::format("{}:{}", process.start.master_address,
                                          process.start.master_port));
  auto [it, is_new] =
      group_by_key_.try_emplace(key, static_cast<int>(groups_.size()));
  if (is_new) {
    Group& group = groups_.emplace_back();
    group.run = process.run;
    group.attempt = process.attempt;
    group.world = process.start.world_size;
  }
  const int index = it->second;
  Group& group = groups_[index];
  process.group = index;
  if (group.is_broken) {
    DieSoon(id, context_.random.Time(seconds(1), seconds(5)));
    return;
  }
  group.members[process.rank.value] = id;
  if (static_cast<std::int32_t>(group.members.size()) == group.world) {
    BeginTraining(index);
    return;
  }
  context_.queue.After(kRendezvousTimeout, [this, id, index] {
    if (groups_[index].is_started || !processes_[id].is_alive) return;
    DieSoon(id, Duration(0));
  });
}

void SimCluster::BeginTraining(int index) {
  Group& group = groups_[index];
  group.is_started = true;
  std::vector<const Process*> ranks;
  for (const auto& [rank, id] : group.members) {
    ranks.push_back(&processes_[id]);
    const auto shard =
        shards_.find(processes_[id].start.ranks.front().resume_path);
    if (shard != shards_.end() && shard->second.is_poisoned) {
      group.is_poisoned = true;
    }
  }
  group.step = ranks.front()->start.resume_step;
  truth_[{group.run, group.attempt}].step = group.step;
  listener_.OnTrainingStarted(ranks);
  const TrainingPlan& plan = plans_[group.run];
  Advance(index, context_.random.Time(plan.first_step / 4, plan.first_step));
}

void SimCluster::Advance(int index, Duration extra) {
  Group& group = groups_[index];
  const std::uint64_t token = ++group.token;
  group.step_began = context_.now();
  const TrainingPlan& plan = plans_[group.run];
  const auto slowness = slowness_.find(group.run);
  const double factor = slowness == slowness_.end() ? 1.0 : slowness->second;
  const Duration step = FromSeconds(ToSeconds(plan.step_time) * factor *
                                    (0.9 + 0.2 * context_.random.Unit()));
  context_.queue.After(step + extra,
                       [this, index, token] { StepDue(index, token); });
}

void SimCluster::StepDue(int index, std::uint64_t token) {
  Group& group = groups_[index];
  if (group.token != token || group.is_broken || group.is_done) return;
  const bool all_arrive =
      std::ranges::all_of(group.members, [this](const auto& member) {
        return CanStep(processes_[member.second]);
      });
  if (all_arrive) {
    FinishStep(index);
    return;
  }
  group.is_blocked = true;
  // The others have come one collective further and wait there.
  for (const auto& [rank, id] : group.members) {
    Process& process = processes_[id];
    if (CanStep(process) && process.phase != Phase::kBackward) {
      Enter(process, Phase::kBackward);
    }
  }
}

void SimCluster::Wake(int index) {
  Group& group = groups_[index];
  if (!group.is_blocked || group.is_broken) return;
  const bool all_arrive =
      std::ranges::all_of(group.members, [this](const auto& member) {
        return CanStep(processes_[member.second]);
      });
  if (!all_arrive) return;
  group.is_blocked = false;
  Advance(index, Duration(0));
}

void SimCluster::WakeAll() {
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    Wake(static_cast<int>(i));
  }
  NoteStalls();
}

void SimCluster::FinishStep(int index) {
  Group& group = groups_[index];
  group.step = group.step.Next();
  AttemptTruth& truth = truth_[{group.run, group.attempt}];
  truth.step = group.step;
  if (const auto crash = crash_at_[group.run]; crash && group.step >= *crash) {
    const int victim = group.members.begin()->second;
    Die(victim, {.code = 1}, "ValueError: bad batch", false, true);
    return;
  }
  bool is_first_bad = false;
  if (!group.is_poisoned) {
    const auto nan = nan_at_[group.run];
    is_first_bad = nan && group.step >= *nan;
    for (const auto& [rank, id] : group.members) {
      if (poison_next_.erase(id) > 0) is_first_bad = true;
    }
  }
  if (is_first_bad || (group.is_poisoned && !truth.first_bad_step)) {
    group.is_poisoned = true;
    if (!truth.first_bad_step) truth.first_bad_step = group.step;
    NoteDamage(processes_[group.members.begin()->second], "NaN");
  }
  for (const auto& [rank, id] : group.members) {
    Process& process = processes_[id];
    process.step = group.step;
    process.cpu_seconds += 0.5;
    Enter(process, Phase::kStep);
  }
  WriteBlocks(group, is_first_bad);
  AfterStep(index);
}

void SimCluster::WriteBlocks(Group& group, bool is_first_bad) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::map<int, std::vector<std::uint32_t>> by_node;
  for (const auto& [rank, id] : group.members) {
    by_node[processes_[id].node].push_back(static_cast<std::uint32_t>(rank));
  }
  const auto culprit = static_cast<std::uint32_t>(group.members.begin()->first);
  for (auto& [node, ranks] : by_node) {
    StepBlock block;
    block.run = group.run;
    block.attempt = group.attempt;
    block.step = group.step;
    block.metrics = {static_cast<std::uint32_t>(Metric::kStepSeconds),
                     static_cast<std::uint32_t>(Metric::kLoss),
                     static_cast<std::uint32_t>(Metric::kGradNorm),
                     static_cast<std::uint32_t>(Metric::kTokens)};
    block.values.assign(
        ranks.size(),
        static_cast<float>(ToSeconds(context_.now() - group.step_began)));
    const float loss = 2.0f + 8.0f / static_cast<float>(group.step.value + 2);
    for (const std::uint32_t rank : ranks) {
      const bool is_bad =
          group.is_poisoned && (!is_first_bad || rank == culprit);
      block.values.push_back(is_bad ? nan : loss);
    }
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      block.values.push_back(group.is_poisoned ? nan : 1.0f);
    }
    block.values.insert(block.values.end(), ranks.size(), 0.0f);
    block.ranks = std::move(ranks);
    nodes_[node].recorder.push_back(
        {context_.now() + milliseconds(2), std::move(block)});
  }
}

void SimCluster::AfterStep(int index) {
  Group& group = groups_[index];
  const StartCommand& start = processes_[group.members.begin()->second].start;
  if (start.target_steps > 0 && group.step.value + 1 >= start.target_steps) {
    FinishRun(index);
    return;
  }
  if (BeginSaves(index)) return;
  Duration extra{};
  if (const auto phase = long_phase_.find(group.run);
      phase != long_phase_.end()) {
    extra = phase->second.second;
    for (const auto& [rank, id] : group.members) {
      Enter(processes_[id], phase->second.first);
    }
    long_phase_.erase(phase);
  }
  Advance(index, extra);
}

bool SimCluster::BeginSaves(int index) {
  Group& group = groups_[index];
  const TrainingPlan& plan = plans_[group.run];
  const bool is_periodic =
      group.step.value > 0 && group.step.value % plan.checkpoint_interval == 0;
  Duration extra{};
  if (is_periodic && long_phase_.contains(group.run) &&
      long_phase_[group.run].first == Phase::kCheckpoint) {
    extra = long_phase_[group.run].second;
    long_phase_.erase(group.run);
  }
  for (const auto& [rank, id] : group.members) {
    Process& process = processes_[id];
    process.save_ack_seq = process.save_seq;
    const bool is_ordered = process.save_step == group.step;
    if (!is_periodic && !is_ordered) continue;
    process.is_saving = true;
    process.leaves_after_save = is_ordered && process.save_then_stop;
    Enter(process, Phase::kCheckpoint);
    ++group.saving;
    const Duration length =
        extra + context_.random.Time(plan.save_time / 2, plan.save_time * 2);
    const int process_id = id;
    context_.queue.After(length,
                         [this, process_id] { FinishSave(process_id); });
  }
  return group.saving > 0;
}

void SimCluster::FinishSave(int id) {
  Process& process = processes_[id];
  if (!process.is_alive || !process.is_saving) return;
  if (!IsExecuting(process)) {
    process.has_late_save = true;
    return;
  }
  process.is_saving = false;
  process.has_late_save = false;
  WriteShard(process, process.step);
  Enter(process, Phase::kStep);
  Group& group = groups_[process.group];
  --group.saving;
  if (process.leaves_after_save) {
    process.has_left_early = true;
    context_.queue.After(
        context_.random.Time(milliseconds(10), milliseconds(200)), [this, id] {
          if (processes_[id].is_alive) {
            Die(id, {.code = 0}, "", false, true);
          }
        });
  }
  if (group.saving > 0 || group.is_broken) return;
  const bool anyone_leaves =
      std::ranges::any_of(group.members, [this](const auto& member) {
        return processes_[member.second].has_left_early;
      });
  if (anyone_leaves) {
    group.is_done = true;
    // Those that were not told wait for the others in vain.
    for (const auto& [rank, member] : group.members) {
      if (!processes_[member].has_left_early) {
        NoteDamage(processes_[member], "peers left after a save");
        DieSoon(member, context_.random.Time(milliseconds(100), seconds(1)));
      }
    }
    return;
  }
  Advance(process.group, Duration(0));
}

void SimCluster::WriteShard(Process& process, Step step) {
  const TrainingPlan& plan = plans_[process.run];
  if (!plan.is_sharded && process.rank.value != 0) return;
  const Group& group = groups_[process.group];
  StoredShard shard;
  shard.run = process.run;
  shard.attempt = process.attempt;
  shard.step = step;
  shard.rank = process.rank;
  shard.size_bytes = 4096;
  shard.is_poisoned = group.is_poisoned;
  shard.sha256 = fmt::format(
      "{}-{}-{}-{}{}", process.run, process.attempt.value, step.value,
      process.rank.value, shard.is_poisoned ? "-nan" : "");
  const std::string path = fmt::format("{}/step-{:08}/rank-{}.pt",
                                       process.start.checkpoint_directory,
                                       step.value, process.rank.value);
  shards_[path] = shard;

  CheckpointShard report;
  report.run = process.run;
  report.attempt = process.attempt;
  report.step = step;
  report.rank = process.rank;
  report.path = path;
  report.size_bytes = shard.size_bytes;
  report.sha256 = shard.sha256;
  report.shards = plan.is_sharded ? process.start.world_size : 1;
  report.saved_unix_ms = context_.now().count() / 1'000'000;
  report.save_seconds = ToSeconds(plan.save_time);
  nodes_[process.node].recorder.push_back(
      {context_.now() +
           context_.random.Time(milliseconds(5), milliseconds(300)),
       std::move(report)});
}

void SimCluster::FinishRun(int index) {
  Group& group = groups_[index];
  group.is_done = true;
  for (const auto& [rank, id] : group.members) {
    Process& process = processes_[id];
    process.is_finished = true;
    Enter(process, Phase::kShutdown);
    RankFinished finished;
    finished.run = process.run;
    finished.attempt = process.attempt;
    finished.rank = process.rank;
    finished.step = process.step;
    finished.parameters_sha256 = "final";
    nodes_[process.node].recorder.push_back({context_.now(), finished});
    const int process_id = id;
    context_.queue.After(
        context_.random.Time(milliseconds(20), milliseconds(900)),
        [this, process_id] {
          if (processes_[process_id].is_alive) {
            Die(process_id, {.code = 0}, "", false, true);
          }
        });
  }
}

// --- Deaths. -----------------------------------------------------------------

void SimCluster::DieSoon(int id, Duration delay) {
  context_.queue.After(delay, [this, id] {
    Process& process = processes_[id];
    if (!process.is_alive) return;
    if (!IsExecuting(process)) {
      process.has_late_death = true;
      return;
    }
    const Duration clings = nodes_[process.node].unkillable_until;
    if (clings > context_.now()) {  // D state: it does not leave either.
      DieSoon(id, clings - context_.now() + milliseconds(10));
      return;
    }
    Die(id, {.code = 1},
        "RuntimeError: [gloo] Connection closed by peer [10.0.0.1]", true,
        true);
  });
}

void SimCluster::Die(int id, ExitStatus exit, const std::string& error,
                     bool is_secondary, bool leaves_record) {
  Process& process = processes_[id];
  if (!process.is_alive) return;
  const bool is_ordered = process.kill_ordered;
  const bool is_regular =
      (process.is_finished || process.has_left_early) && exit == ExitStatus{};
  if (!is_ordered && !is_regular) {
    NoteDamage(process, fmt::format("rank {} ended: {} {}", process.rank.value,
                                    DescribeExit(exit), error));
  }
  process.is_alive = false;
  std::erase(live_, id);
  if (leaves_record) {
    RankExited record;
    record.run = process.run;
    record.attempt = process.attempt;
    record.rank = process.rank;
    record.exit = exit;
    record.step = process.step;
    record.phase = process.phase;
    record.error = error;
    record.is_secondary = is_secondary;
    record.signature = exit.signal != 0 ? DescribeExit(exit) : error;
    nodes_[process.node].exit_records.push_back(std::move(record));
  }
  context_.trace.Line(context_.now(), fmt::format("node-{}", process.node),
                      "truth: rank {} of {}/{} gone ({}{}{})",
                      process.rank.value, process.run, process.attempt.value,
                      DescribeExit(exit), is_ordered ? ", ordered" : "",
                      leaves_record ? "" : ", no record");
  listener_.OnGone(process);
  if (leaves_record && on_gone_) on_gone_(process);
  if (process.group >= 0) MemberGone(process.group, id, !leaves_record);
  NoteStalls();
}

void SimCluster::MemberGone(int index, int id, bool has_vanished) {
  Group& group = groups_[index];
  if (group.is_done || group.is_broken) return;
  group.is_broken = true;
  const bool hangs = has_vanished
                         ? context_.random.Chance(0.5)
                         : context_.random.Chance(context_.faults.peers_hang);
  for (const auto& [rank, member] : group.members) {
    if (member == id || !processes_[member].is_alive) continue;
    Process& peer = processes_[member];
    if (hangs) {
      peer.is_stuck = true;
      if (CanStep(peer)) Enter(peer, Phase::kBackward);
      DieSoon(member, context_.random.Time(seconds(60), seconds(1800)));
    } else {
      DieSoon(member,
              context_.random.Time(milliseconds(10), milliseconds(500)));
    }
  }
}

void SimCluster::Kill(int node_index, const RunId& run, AttemptId below,
                      Duration grace) {
  for (const int id : std::vector<int>(live_)) {
    Process& process = processes_[id];
    if (process.node != node_index || process.run != run ||
        process.attempt >= below) {
      continue;
    }
    if (process.kill_ordered) continue;
    process.kill_ordered = true;
    const bool obeys_term = grace > Duration(0) && IsExecuting(process) &&
                            context_.random.Chance(0.7);
    const Duration death =
        context_.now() +
        (obeys_term ? context_.random.Time(milliseconds(5), grace)
                    : grace + context_.random.Time(milliseconds(1),
                                                   milliseconds(200)));
    DieOrdered(id, death, obeys_term ? kSigTerm : kSigKill);
  }
}

void SimCluster::DieOrdered(int id, Duration at, std::int32_t signal) {
  context_.queue.At(at, [this, id, signal] {
    const Process& process = processes_[id];
    if (!process.is_alive) return;
    const Duration clings = nodes_[process.node].unkillable_until;
    if (clings > context_.now()) {  // D state.
      DieOrdered(id, clings + milliseconds(10), signal);
      return;
    }
    Die(id, {.signal = signal}, "", false, true);
  });
}

// --- What agents see.
// ----------------------------------------------------------

bool SimCluster::WriteSaveWord(int node, const RunId& run, AttemptId attempt,
                               const SaveCommand& save) {
  bool is_in_time = true;
  for (const int id : live_) {
    const Process& process = processes_[id];
    if (process.node == node && process.run == run &&
        process.attempt == attempt && process.step >= save.step) {
      is_in_time = false;
    }
  }
  if (!is_in_time) return false;
  for (const int id : live_) {
    Process& process = processes_[id];
    if (process.node != node || process.run != run ||
        process.attempt != attempt || process.save_seq > save.save_seq) {
      continue;
    }
    process.save_seq = save.save_seq;
    process.save_step = save.step;
    process.save_then_stop = save.then_stop;
  }
  return true;
}

ShardCheck SimCluster::Check(const ShardRef& shard) const {
  ShardCheck check;
  check.rank = shard.rank;
  check.path = shard.path;
  const auto it = shards_.find(shard.path);
  if (it == shards_.end()) {
    check.error = "no such file";
  } else if (!it->second.is_intact || it->second.sha256 != shard.sha256) {
    check.error = "digest differs";
  } else {
    check.ok = true;
  }
  return check;
}

}  // namespace steadyrun::sim
