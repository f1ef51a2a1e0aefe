// Invariants of what agents do, and of the processes themselves.

#include <algorithm>
#include <limits>
#include <set>

#include "tests/simulation/invariants.h"

namespace steadyrun::sim {
namespace {

const agent::DurableRun* FindDurable(const agent::DurableState& state,
                                     const RunId& run) {
  const auto it = std::ranges::find(state.runs, run, &agent::DurableRun::run);
  return it == state.runs.end() ? nullptr : &*it;
}

}  // namespace

void Invariants::OnNodeReborn(int node, const std::string& boot_id) {
  const auto index = static_cast<std::size_t>(node);
  if (boots_.size() <= index) {
    boots_.resize(index + 1);
    reports_.resize(index + 1);
  }
  const bool is_wiped = boots_[index].substr(boots_[index].find(':') + 1) !=
                        boot_id.substr(boot_id.find(':') + 1);
  boots_[index] = boot_id;
  if (is_wiped) {
    reports_[index].clear();  // Lost with their disk: a new life, new numbers.
    persists_.erase(node);
  }
}

void Invariants::OnStaleStream(int node, bool is_open) {
  if (is_open) {
    stale_streams_.insert(node);
  } else {
    stale_streams_.erase(node);
  }
}

void Invariants::OnAgentEffect(int node, const agent::Effect& effect,
                               const AgentDisk& disk) {
  if (const auto* persist = std::get_if<agent::PersistState>(&effect)) {
    CheckPersist(node, *persist, disk);
    return;
  }
  const bool is_stale = stale_streams_.contains(node);
  if (const auto* spawn = std::get_if<agent::SpawnRank>(&effect)) {
    const agent::DurableRun* run = FindDurable(*disk.state, spawn->run);
    if (run == nullptr || run->floor != spawn->attempt ||
        run->started != spawn->attempt) {
      Violate("S3", fmt::format("node-{} spawns rank {} of attempt {} before "
                                "that is on its disk (floor {}, started {})",
                                node, spawn->start.ranks.front().rank.value,
                                spawn->attempt.value,
                                run == nullptr ? 0 : run->floor.value,
                                run == nullptr ? 0 : run->started.value));
    }
    if (is_stale) Violate("S10", "a spawn ordered by a stale server");
  } else if (const auto* kill = std::get_if<agent::KillRanks>(&effect)) {
    const agent::DurableRun* run = FindDurable(*disk.state, kill->run);
    // A node that lost its memory kills what it finds, but nothing that was
    // started since.
    const bool has_own = std::ranges::any_of(cluster_->Live(), [&](int id) {
      const Process& process = cluster_->At(id);
      return process.node == node && process.run == kill->run &&
             run != nullptr && process.attempt == run->started;
    });
    if (disk.wipes > 0 && !has_own) return;
    const AttemptId floor = run == nullptr ? AttemptId{0} : run->floor;
    if (kill->below > floor) {
      Violate("S7", fmt::format("node-{} kills below attempt {} while the "
                                "floor on its disk is {}",
                                node, kill->below.value, floor.value));
    }
    if (kill->below > stop_sent_[{kill->run, node}]) {
      Violate("S7", fmt::format("node-{} kills below attempt {}, which nobody "
                                "ordered",
                                node, kill->below.value));
    }
  } else if (std::holds_alternative<agent::WriteSaveWord>(effect)) {
    if (is_stale) Violate("S10", "a save ordered by a stale server");
  }
}

void Invariants::CheckPersist(int node, const agent::PersistState& persist,
                              const AgentDisk& disk) {
  const auto [it, is_first] = persists_.try_emplace(node, *disk.state);
  const agent::DurableState former = it->second;
  it->second = persist.state;
  for (const agent::DurableState* before : {&former, &*disk.state}) {
    if (persist.state.max_server_epoch < before->max_server_epoch &&
        before == &*disk.state) {
      Violate("S9", fmt::format("node-{}: epoch {} after {}", node,
                                persist.state.max_server_epoch,
                                before->max_server_epoch));
    }
  }
  for (const agent::DurableRun& run : disk.state->runs) {
    const agent::DurableRun* now = FindDurable(persist.state, run.run);
    if (now == nullptr) continue;  // Forgotten runs may go: bounded memory.
    if (now->floor < run.floor || now->started < run.started) {
      Violate("S9", fmt::format("node-{}: floor {} and started {} after {} and "
                                "{}",
                                node, now->floor.value, now->started.value,
                                run.floor.value, run.started.value));
    }
  }
  if (!stale_streams_.contains(node)) return;
  const bool is_epoch_raised =
      persist.state.max_server_epoch != former.max_server_epoch ||
      persist.state.server_id != former.server_id;
  if (is_epoch_raised || persist.state.runs != former.runs) {
    Violate("S10", fmt::format("node-{} obeys a stale server", node));
  }
}

// --- Reports.
// --------------------------------------------------------------------

void Invariants::OnReportSpooled(int node, const std::string& boot_id,
                                 const Report& report) {
  (void)boot_id;
  Tracked tracked;
  tracked.kind = report.body.index();
  if (const auto* block = std::get_if<StepBlock>(&report.body)) {
    tracked.run = block->run;
    tracked.attempt = block->attempt;
    tracked.step = block->step;
    tracked.stamp = static_cast<std::int64_t>(block->values.back());
    origins_[tracked.stamp] = {node, report.seq};
  } else if (const auto* exit = std::get_if<RankExited>(&report.body)) {
    tracked.run = exit->run;
    tracked.attempt = exit->attempt;
    tracked.rank = exit->rank;
    tracked.has_error = exit->killed_by_agent;  // Ordered: no evidence.
    ++exits_spooled_[{exit->run, exit->attempt, exit->rank}];
  } else if (const auto* shard = std::get_if<CheckpointShard>(&report.body)) {
    tracked.run = shard->run;
    tracked.attempt = shard->attempt;
    tracked.step = shard->step;
    tracked.rank = shard->rank;
    tracked.has_error = !shard->error.empty();
  } else if (const auto* result = std::get_if<CommandResult>(&report.body)) {
    if (result->outcome == CommandOutcome::kFailed &&
        result->command_id.find("/start/") != std::string::npos) {
      start_failures_.insert({result->run, result->attempt});
    }
  }
  context_.trace.Line(context_.now(), fmt::format("node-{}", node),
                      "spooled {}: kind {} of {}/{} step {} rank {}",
                      report.seq.value, tracked.kind, tracked.run,
                      tracked.attempt.value, tracked.step.value,
                      tracked.rank.value);
  if (!reports_[node].emplace(report.seq, tracked).second) {
    Violate("S16", fmt::format("node-{}: number {} names two reports", node,
                               report.seq.value));
  }
}

void Invariants::OnSpoolLost(int node) { reports_[node].clear(); }

void Invariants::OnReportsDropped(int node, const std::string& boot_id,
                                  ReportSeq through) {
  auto& reports = reports_[node];
  if (reports.empty() || reports.begin()->first > through) return;
  const ReportSeq stored =
      store_->AckedOf(fmt::format("node-{}", node), boot_id);
  if (through > stored) {
    Violate("S4", fmt::format("node-{} drops reports through {} from its "
                              "spool; {} is committed",
                              node, through.value, stored.value));
  }
  reports.erase(reports.begin(), reports.upper_bound(through));
}

// --- Processes.
// --------------------------------------------------------------------

void Invariants::OnSpawned(const Process& process) {
  const std::string who =
      fmt::format("rank {} of {}/{} on node-{}", process.rank.value,
                  process.run, process.attempt.value, process.node);
  context_.trace.Line(context_.now(), fmt::format("node-{}", process.node),
                      "truth: {} is spawned", who);
  if (!spawned_.insert({process.run, process.attempt, process.rank}).second) {
    Violate("S3", who + " is started a second time");
  }
  for (const int id : cluster_->Live()) {
    const Process& other = cluster_->At(id);
    if (other.id == process.id || other.run != process.run) continue;
    const bool is_beside =
        other.node == process.node && other.attempt != process.attempt;
    if (other.node == process.node && other.rank == process.rank) {
      Violate("S1", fmt::format("{} starts beside one of attempt {}", who,
                                other.attempt.value));
    }
    const auto behind = fenced_.find({process.run, process.node});
    const bool is_zombie =
        behind != fenced_.end() && behind->second >= process.attempt;
    if (other.attempt > process.attempt && !is_zombie) {
      Violate("S2", fmt::format("{} starts while attempt {} runs", who,
                                other.attempt.value));
    }
    if (other.attempt >= process.attempt) continue;
    const auto fenced = fenced_.find({other.run, other.node});
    const bool is_fenced =
        fenced != fenced_.end() && fenced->second >= other.attempt;
    if (is_beside || !is_fenced) {
      Violate("S2", fmt::format("{} starts while rank {} of attempt {} lives "
                                "on node-{}, which is not fenced",
                                who, other.rank.value, other.attempt.value,
                                other.node));
    }
  }
}

void Invariants::OnGone(const Process&) {}

void Invariants::OnTrainingStarted(const std::vector<const Process*>& ranks) {
  const Process& first = *ranks.front();
  std::set<int> seen;
  for (const Process* process : ranks) {
    const StartCommand& start = process->start;
    seen.insert(process->rank.value);
    if (start.resume_step != first.start.resume_step ||
        start.world_size != static_cast<std::int32_t>(ranks.size())) {
      Violate("S13", "ranks of one attempt resume from different steps");
    }
    if (start.checkpoint_directory != first.start.checkpoint_directory) {
      Violate("S13", "ranks of one attempt save to different directories");
    }
    const std::string& path = start.ranks.front().resume_path;
    if (path.empty() != (start.resume_step == kNoStep)) {
      Violate("S13",
              fmt::format("rank {} resumes at step {} from \"{}\"",
                          process->rank.value, start.resume_step.value, path));
    }
    if (path.empty()) continue;
    const StoredShard* mine = cluster_->FindShard(path);
    const StoredShard* other =
        cluster_->FindShard(first.start.ranks.front().resume_path);
    if (mine == nullptr || other == nullptr ||
        mine->attempt != other->attempt || mine->step != other->step ||
        mine->step != start.resume_step) {
      Violate("S13", fmt::format("rank {} loads {}, of another checkpoint than "
                                 "rank {}",
                                 process->rank.value, path, first.rank.value));
    }
  }
  if (seen.size() != ranks.size()) {
    Violate("S1", "a rank is at its rendezvous twice");
  }
}

}  // namespace steadyrun::sim
