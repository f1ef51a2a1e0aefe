// Watching the shims, and the proof that nothing of a rank is left.

#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include <algorithm>
#include <set>

#include "agent/supervisor/rank_exit.h"
#include "agent/supervisor/supervisor_impl.h"

namespace steadyrun::agent {
namespace {

// Between two scans of /proc while something has to go.
constexpr Duration kScanInterval = std::chrono::milliseconds(50);

}  // namespace

void Supervisor::Impl::LookAtStart(TrackedRank* rank,
                                   std::vector<Event>* events) {
  rank->identity = ReadIdentity(rank->files.record);
  if (!rank->identity) return;
  rank->phase = TrackPhase::kRunning;
  if (!rank->shim.IsOpen() && rank->shim_pid == 0) {
    WatchShim(rank, rank->identity->shim_pid, rank->identity->shim_start_ticks);
  }
  rank->spawn_error = DescribeStartFailure(*rank->identity, "the program",
                                           "of the Start command");
  if (rank->spawn_error.empty()) {
    events->push_back(RankSpawned{rank->key.run, rank->key.attempt,
                                  rank->key.rank, rank->identity->rank_pid});
  }
}

void Supervisor::Impl::LookAtShim(TrackedRank* rank) {
  if (rank->shim.IsOpen() && !rank->shim.HasEnded()) return;
  if (rank->is_child) {
    int status = 0;
    if (::waitpid(rank->shim_pid, &status, WNOHANG) == rank->shim_pid) {
      rank->shim_wait_status = status;
    }
  }
  rank->shim.Close();
  rank->phase = TrackPhase::kShimGone;
}

std::vector<Event> Supervisor::Impl::Poll(Now now) {
  std::vector<Event> events;
  std::swap(events, ready_);
  epoll_event seen[16];
  while (::epoll_wait(epoll_, seen, 16, 0) == 16) {
  }
  for (auto& [key, rank] : ranks_) {
    if (rank.phase == TrackPhase::kStarting) LookAtStart(&rank, &events);
    if (rank.phase == TrackPhase::kStarting ||
        rank.phase == TrackPhase::kRunning) {
      LookAtShim(&rank);
      // A start that failed or was short may be over already.
      if (rank.phase == TrackPhase::kShimGone && !rank.identity) {
        LookAtStart(&rank, &events);
        if (!rank.shim.IsOpen()) rank.phase = TrackPhase::kShimGone;
      }
    }
    if (rank.phase == TrackPhase::kGone && !rank.is_reported && !rank.is_told) {
      SetGone(&rank, now, &events);  // Read in an earlier agent's life.
    }
  }
  if (NeedsScan(now.mono)) Scan(now, &events);
  return events;
}

bool Supervisor::Impl::NeedsScan(MonoTime now) const {
  bool is_wanted = wants_sweep_ || has_leftovers_;
  bool is_new = !scanned_;
  for (const auto& [key, rank] : ranks_) {
    if (rank.phase == TrackPhase::kShimGone) {
      is_wanted = true;
      // A complete record is proof enough to look at once.
      if (const auto end = ReadEnd(rank.files.record)) {
        is_new = is_new || end->all_gone != 0;
      }
    } else if (rank.phase != TrackPhase::kGone && rank.order) {
      is_wanted =
          is_wanted || now >= rank.order->kill_at + options_.escalate_after;
    }
  }
  return is_wanted && (is_new || now - *scanned_ >= kScanInterval);
}

void Supervisor::Impl::Scan(Now now, std::vector<Event>* events) {
  scanned_ = now.mono;
  ScanInput input{options_.state_uuid, options_.state_directory, {}};
  for (const auto& [key, rank] : ranks_) {
    if (rank.phase == TrackPhase::kGone || rank.shim_pid == 0) continue;
    input.sessions[rank.shim_pid] = {key, rank.shim_start_ticks};
  }
  auto marked = FindMarkedProcesses(table_, input);
  AddDying(&marked);
  unkillable_.clear();
  KillMarked(marked, now);

  std::set<RankKey> living;
  bool has_leftovers = false;
  bool has_strays = false;
  for (const MarkedProcess& process : marked) {
    has_leftovers = has_leftovers || process.is_leftover;
    if (process.is_leftover) continue;
    living.insert(process.key);
    const auto floor = floors_.find(process.key.run);
    has_strays = has_strays || (floor != floors_.end() &&
                                process.key.attempt < floor->second);
  }
  has_leftovers_ = has_leftovers;
  wants_sweep_ = has_strays;
  for (auto& [key, rank] : ranks_) {
    if (rank.phase == TrackPhase::kShimGone && !living.contains(key) &&
        !IsRankDying(rank)) {
      SetGone(&rank, now, events);
    }
  }
}

// A process that is being torn down has lost its environment before it has
// ended: it is still counted until it has.
void Supervisor::Impl::AddDying(std::vector<MarkedProcess>* marked) {
  std::erase_if(killed_, [&](const auto& entry) {
    const auto& [pid, start_ticks] = entry.first;
    const auto stat = table_.Stat(pid);
    if (!stat.ok() || stat->start_ticks != start_ticks || stat->IsDead()) {
      return true;
    }
    const bool is_known = std::any_of(
        marked->begin(), marked->end(),
        [&](const MarkedProcess& other) { return other.stat.pid == pid; });
    if (!is_known) marked->push_back(entry.second.process);
    return false;
  });
}

// The same for a rank that the kernel ends because its shim died.
bool Supervisor::Impl::IsRankDying(const TrackedRank& rank) const {
  if (!rank.identity || rank.identity->rank_pid <= 1) return false;
  const auto stat = table_.Stat(rank.identity->rank_pid);
  return stat.ok() && stat->start_ticks == rank.identity->rank_start_ticks &&
         !stat->IsDead();
}

// Whether this very process is to be ended by pid now.
bool Supervisor::Impl::ShouldKill(const MarkedProcess& process, Now now) {
  if (process.is_leftover) return true;
  const auto tracked = ranks_.find(process.key);
  if (tracked == ranks_.end()) {
    const auto floor = floors_.find(process.key.run);
    return floor != floors_.end() && process.key.attempt < floor->second;
  }
  TrackedRank& rank = tracked->second;
  // Nothing may outlive its shim.
  if (rank.phase == TrackPhase::kShimGone || rank.phase == TrackPhase::kGone) {
    return true;
  }
  if (!rank.order || now.mono < rank.order->kill_at + options_.escalate_after) {
    return false;
  }
  if (!rank.order->first_kill) rank.order->first_kill = now.mono;
  if (process.stat.pid != rank.shim_pid) return true;
  // The shim comes last: as long as it works, nothing can escape it.
  rank.shim.Signal(SIGCONT);
  return now.mono >= *rank.order->first_kill + options_.escalate_after;
}

void Supervisor::Impl::NoteUnkillable(const MarkedProcess& process, Now now) {
  const auto first = killed_.find({process.stat.pid, process.stat.start_ticks});
  if (first == killed_.end() ||
      now.mono - first->second.first < options_.unkillable_after) {
    return;
  }
  unkillable_.push_back({process.key, process.stat.pid, process.stat.state,
                         table_.WaitChannel(process.stat.pid)});
}

void Supervisor::Impl::KillMarked(const std::vector<MarkedProcess>& marked,
                                  Now now) {
  for (const MarkedProcess& process : marked) {
    if (!ShouldKill(process, now)) continue;
    const auto handle =
        ProcessHandle::Open(table_, process.stat.pid, process.stat.start_ticks);
    if (!handle) continue;
    handle->Signal(SIGKILL);
    killed_.try_emplace({process.stat.pid, process.stat.start_ticks},
                        Killed{process, now.mono});
    NoteUnkillable(process, now);
  }
}

void Supervisor::Impl::SetGone(TrackedRank* rank, Now now,
                               std::vector<Event>* events) {
  if (!rank->identity && rank->phase != TrackPhase::kGone &&
      !ClaimUnstarted(rank->files.record, {0, 1})) {
    rank->phase = TrackPhase::kStarting;  // Its shim comes up only now.
    return;
  }
  rank->phase = TrackPhase::kGone;
  rank->is_told = true;
  if (!rank->spawn_error.empty()) {
    events->push_back(RankSpawnFailed{rank->key.run, rank->key.attempt,
                                      rank->key.rank, rank->spawn_error});
    // Nothing ran, so there is nothing to report again.
    rank->is_reported = true;
  } else {
    rank->exit = ReadRankExit(*rank, &rank->was_killed);
    events->push_back(RankGone{MakeRankExited(*rank, now.wall)});
  }
  const ReportRecord report{rank->is_reported ? 1u : 0u, 1u};
  // If it cannot be written, a restarted agent proves it again.
  (void)WriteReport(rank->files.record, report);
}

}  // namespace steadyrun::agent
