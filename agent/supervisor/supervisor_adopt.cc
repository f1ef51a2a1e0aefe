// Taking over what an earlier agent of this state directory left.

#include <sys/epoll.h>

#include <algorithm>

#include "agent/supervisor/rank_exit.h"
#include "agent/supervisor/supervisor_impl.h"

namespace steadyrun::agent {

void Supervisor::Impl::WatchShim(TrackedRank* rank, std::int32_t pid,
                                 std::uint64_t ticks) {
  rank->shim_pid = pid;
  rank->shim_start_ticks = ticks;
  if (auto handle = ProcessHandle::Open(table_, pid, ticks)) {
    rank->shim = *std::move(handle);
    epoll_event event{};
    event.events = EPOLLIN;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, rank->shim.fd(), &event);
  }
}

std::optional<TrackedRank> Supervisor::Impl::Load(
    const RankKey& key, const std::vector<MarkedProcess>& marked) {
  TrackedRank rank;
  rank.key = key;
  rank.files = store_.FilesOf(key);
  const auto launch = ReadLaunch(rank.files.record);
  const bool is_ours =
      launch &&
      FieldText(launch->kernel_boot_id, sizeof launch->kernel_boot_id) ==
          options_.kernel_boot_id &&
      FieldText(launch->state_uuid, sizeof launch->state_uuid) ==
          options_.state_uuid;
  const bool has_process = std::any_of(
      marked.begin(), marked.end(), [&](const MarkedProcess& process) {
        return process.key == key && !process.is_leftover;
      });
  // Of an earlier boot, or of an identity that is lost: nothing can live.
  if (!is_ours && !has_process) return std::nullopt;
  if (launch) {
    rank.local_rank = launch->local_rank;
    rank.recorder_path = FieldText(launch->recorder, sizeof launch->recorder);
    rank.log_format = FieldText(launch->log_format, sizeof launch->log_format);
  }
  const ReportRecord report = ReadReport(rank.files.record);
  rank.is_reported = report.is_reported != 0;
  rank.identity = ReadIdentity(rank.files.record);
  if (rank.identity) {
    WatchShim(&rank, rank.identity->shim_pid, rank.identity->shim_start_ticks);
    rank.spawn_error = DescribeStartFailure(*rank.identity, "the program", "");
  } else {
    // The agent died between starting the shim and the shim's first word.
    for (const MarkedProcess& process : marked) {
      const bool is_shim = process.key == key && !process.is_leftover &&
                           process.stat.pid == process.stat.session;
      if (is_shim && !rank.shim.IsOpen()) {
        WatchShim(&rank, process.stat.pid, process.stat.start_ticks);
      }
    }
    if (!rank.shim.IsOpen()) {
      rank.spawn_error = "the agent ended while it started this rank";
    }
  }
  rank.phase = rank.identity ? TrackPhase::kRunning : TrackPhase::kStarting;
  if (!rank.shim.IsOpen()) rank.phase = TrackPhase::kShimGone;
  if (report.is_gone != 0) {
    rank.shim.Close();
    rank.phase = TrackPhase::kGone;
    rank.exit = ReadRankExit(rank, &rank.was_killed);
  }
  return rank;
}

// Processes that carry our marker and have no record: the directory was
// removed by somebody. They are ranks all the same, and Kill ends them.
void Supervisor::Impl::AddUnrecorded(const std::vector<MarkedProcess>& marked) {
  for (const MarkedProcess& process : marked) {
    if (process.is_leftover || ranks_.contains(process.key)) continue;
    if (auto rank = Load(process.key, marked)) {
      ranks_.insert_or_assign(process.key, *std::move(rank));
    }
  }
}

std::vector<NodeRunState> Supervisor::Impl::Survivors() const {
  std::map<RunId, NodeRunState> runs;
  for (const auto& [key, rank] : ranks_) {
    NodeRunState& run = runs[key.run];
    run.run = key.run;
    run.started = std::max(run.started, key.attempt);
  }
  for (const auto& [key, rank] : ranks_) {
    NodeRunState& run = runs[key.run];
    const bool is_over = rank.phase == TrackPhase::kGone && rank.is_reported;
    if (is_over && key.attempt != run.started) continue;
    RankState state;
    state.rank = key.rank;
    state.local_rank = rank.local_rank;
    state.attempt = key.attempt;
    state.life = is_over ? RankLife::kExited : RankLife::kAlive;
    state.pid = rank.identity ? rank.identity->rank_pid : 0;
    if (is_over) {
      state.exit = rank.exit;
      state.killed_by_agent = rank.was_killed;
    }
    run.ranks.push_back(std::move(state));
  }
  std::vector<NodeRunState> result;
  for (auto& [id, run] : runs) result.push_back(std::move(run));
  return result;
}

std::vector<NodeRunState> Supervisor::Impl::Adopt(Now now) {
  const auto marked = FindMarkedProcesses(
      table_, {options_.state_uuid, options_.state_directory, {}});
  for (const RankKey& key : store_.List()) {
    if (auto rank = Load(key, marked)) {
      ranks_.insert_or_assign(key, *std::move(rank));
    } else {
      store_.RemoveRank(key);
    }
  }
  AddUnrecorded(marked);
  has_leftovers_ = std::any_of(
      marked.begin(), marked.end(),
      [](const MarkedProcess& process) { return process.is_leftover; });
  KillMarked(marked, now);
  return Survivors();
}

}  // namespace steadyrun::agent
