#include "agent/supervisor/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "agent/supervisor/process_scan.h"
#include "agent/supervisor/rank_environment.h"
#include "agent/supervisor/rank_exit.h"
#include "agent/supervisor/rank_record.h"
#include "agent/supervisor/shim_spawn.h"
#include "agent/supervisor/tracked_rank.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// Attempts whose output is kept for people; older ones are removed.
constexpr std::int64_t kAttemptsKept = 3;
// Between two scans of /proc while something has to go.
constexpr Duration kScanInterval = std::chrono::milliseconds(50);
// A grace longer than this is an operator's mistake.
constexpr std::int64_t kMaxGraceMs = 3'600'000;

void CopyText(const std::string& text, char* out, std::size_t size) {
  std::memset(out, 0, size);
  if (text.size() < size) std::memcpy(out, text.data(), text.size());
}

}  // namespace

class Supervisor::Impl {
 public:
  explicit Impl(SupervisorOptions options)
      : options_(std::move(options)),
        table_(options_.proc_root),
        store_(options_.state_directory),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}
  ~Impl() {
    ranks_.clear();
    if (epoll_ >= 0) ::close(epoll_);
  }

  std::vector<NodeRunState> Adopt(Now now);
  void Spawn(const SpawnRank& spawn, const std::string& recorder_path,
             const std::map<std::string, std::string>& base_environment,
             std::int32_t local_world_size);
  void Kill(const RunId& run, AttemptId below, Duration grace, Now now);
  std::vector<Event> Poll(Now now);
  void MarkExitReported(const RankKey& key);
  absl::Status RemoveRun(const RunId& run);
  std::vector<RankProcess> Ranks() const;
  std::vector<UnkillableProcess> Unkillable() const { return unkillable_; }
  RankFiles FilesOf(const RankKey& key) const { return store_.FilesOf(key); }
  bool HasLeftovers() const { return has_leftovers_; }
  int epoll() const { return epoll_; }

 private:
  std::optional<TrackedRank> Load(const RankKey& key,
                                  const std::vector<MarkedProcess>& marked);
  void AddUnrecorded(const std::vector<MarkedProcess>& marked);
  void WatchShim(TrackedRank* rank, std::int32_t pid, std::uint64_t ticks);
  std::vector<NodeRunState> Survivors() const;

  std::string SpawnShimOf(TrackedRank* rank, const SpawnRank& spawn,
                          const std::map<std::string, std::string>& base,
                          std::int32_t local_world_size);
  std::string RefusalOf(const RankKey& key) const;
  void RemoveOldAttempts(const RankKey& newest);

  void LookAtStart(TrackedRank* rank, std::vector<Event>* events);
  void LookAtShim(TrackedRank* rank);
  void SendOrder(TrackedRank* rank, Now now);
  bool NeedsScan(MonoTime now) const;
  void Scan(Now now, std::vector<Event>* events);
  bool IsRankDying(const TrackedRank& rank) const;
  void AddDying(std::vector<MarkedProcess>* marked);
  void KillMarked(const std::vector<MarkedProcess>& marked, Now now);
  bool ShouldKill(const MarkedProcess& process, Now now);
  void NoteUnkillable(const MarkedProcess& process, Now now);
  void SetGone(TrackedRank* rank, Now now, std::vector<Event>* events);

  SupervisorOptions options_;
  ProcessTable table_;
  RankStore store_;
  int epoll_;
  std::map<RankKey, TrackedRank> ranks_;
  std::map<RunId, AttemptId> floors_;  // Kill was ordered below these.
  std::vector<Event> ready_;           // For the next Poll.
  std::optional<MonoTime> scanned_;
  bool wants_sweep_ = false;  // Processes without a record may be there.
  bool has_leftovers_ = false;
  // Processes that were sent SIGKILL by pid, by pid and start.
  struct Killed {
    MarkedProcess process;
    MonoTime first;
  };
  std::map<std::pair<std::int32_t, std::uint64_t>, Killed> killed_;
  std::vector<UnkillableProcess> unkillable_;
};

// --- Taking over.

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

// --- Starting.

std::string Supervisor::Impl::RefusalOf(const RankKey& key) const {
  for (const auto& [other, rank] : ranks_) {
    if (other.run == key.run && other.attempt != key.attempt &&
        rank.phase != TrackPhase::kGone) {
      return fmt::format(
          "rank {} of attempt {} still lives on this node; attempt {} may not "
          "start beside it",
          other.rank.value, other.attempt.value, key.attempt.value);
    }
  }
  if (has_leftovers_) {
    return "processes of a lost state directory still live on this node";
  }
  const auto floor = floors_.find(key.run);
  if (floor != floors_.end() && key.attempt < floor->second) {
    return fmt::format("attempt {} is below the floor {}", key.attempt.value,
                       floor->second.value);
  }
  return "";
}

void Supervisor::Impl::Spawn(
    const SpawnRank& spawn, const std::string& recorder_path,
    const std::map<std::string, std::string>& base_environment,
    std::int32_t local_world_size) {
  RankKey key{spawn.run, spawn.attempt, kNoRank};
  std::string error;
  if (spawn.start.ranks.size() == 1) {
    key.rank = spawn.start.ranks[0].rank;
    error = RefusalOf(key);
  } else {
    error = fmt::format("expected one rank in the order, found {}",
                        spawn.start.ranks.size());
  }
  TrackedRank rank;
  if (error.empty()) {
    RemoveOldAttempts(key);
    rank.key = key;
    rank.local_rank = spawn.start.ranks[0].local_rank;
    rank.recorder_path = recorder_path;
    rank.log_format = spawn.start.log_format;
    rank.files = store_.FilesOf(key);
    error = SpawnShimOf(&rank, spawn, base_environment, local_world_size);
  }
  if (error.empty()) {
    ranks_.insert_or_assign(key, std::move(rank));
  } else {
    ready_.push_back(
        RankSpawnFailed{spawn.run, spawn.attempt, key.rank, std::move(error)});
  }
}

std::string Supervisor::Impl::SpawnShimOf(
    TrackedRank* rank, const SpawnRank& spawn,
    const std::map<std::string, std::string>& base,
    std::int32_t local_world_size) {
  LaunchRecord launch{};
  CopyText(options_.kernel_boot_id, launch.kernel_boot_id,
           sizeof launch.kernel_boot_id);
  CopyText(options_.state_uuid, launch.state_uuid, sizeof launch.state_uuid);
  CopyText(rank->key.run, launch.run, sizeof launch.run);
  CopyText(rank->log_format, launch.log_format, sizeof launch.log_format);
  CopyText(rank->recorder_path, launch.recorder, sizeof launch.recorder);
  launch.attempt = rank->key.attempt.value;
  launch.rank = rank->key.rank.value;
  launch.local_rank = rank->local_rank;
  if (absl::Status made = store_.Create(rank->key, launch); !made.ok()) {
    if (absl::IsAlreadyExists(made)) {
      return fmt::format("this rank of attempt {} was started here before: {}",
                         rank->key.attempt.value, std::string(made.message()));
    }
    return std::string(made.message());
  }
  RankEnvironmentInput environment;
  environment.spawn = spawn;
  environment.node = options_.node;
  environment.state_uuid = options_.state_uuid;
  environment.state_directory = options_.state_directory;
  environment.recorder_path = rank->recorder_path;
  environment.local_world_size = local_world_size;
  ShimStart start;
  start.shim_path = options_.shim_path;
  start.directory = rank->files.directory;
  start.working_directory = spawn.start.working_directory;
  start.argv = spawn.start.argv;
  start.environment = RankEnvironment(environment, base);
  const auto pid = SpawnShim(start);
  if (!pid.ok()) {
    store_.RemoveRank(rank->key);
    return std::string(pid.status().message());
  }
  rank->is_child = true;
  const auto stat = table_.Stat(*pid);
  WatchShim(rank, *pid, stat.ok() ? stat->start_ticks : 0);
  return "";
}

// Output of the newest attempts is kept for people; of those before, nothing.
void Supervisor::Impl::RemoveOldAttempts(const RankKey& newest) {
  std::erase_if(ranks_, [&](const auto& entry) {
    const auto& [key, rank] = entry;
    const bool is_done = rank.phase == TrackPhase::kGone && rank.is_reported;
    if (key.run != newest.run || key.attempt >= newest.attempt || !is_done) {
      return false;
    }
    if (!rank.recorder_path.empty()) {
      ::unlink(rank.recorder_path.c_str());
      ::unlink((rank.recorder_path + ".cursor").c_str());
    }
    if (key.attempt.value + kAttemptsKept > newest.attempt.value) return false;
    store_.RemoveRank(key);
    return true;
  });
}

// --- Ending.

void Supervisor::Impl::Kill(const RunId& run, AttemptId below, Duration grace,
                            Now now) {
  AttemptId& floor = floors_[run];
  if (below > floor) {
    floor = below;
    wants_sweep_ = true;
  }
  const MonoTime kill_at = now.mono + std::max(grace, Duration::zero());
  for (auto& [key, rank] : ranks_) {
    if (key.run != run || key.attempt >= below ||
        rank.phase == TrackPhase::kGone) {
      continue;
    }
    if (!rank.order) rank.order = KillOrder{kill_at, {}, false};
    if (kill_at < rank.order->kill_at) {
      rank.order->kill_at = kill_at;
      rank.order->is_sent = false;
    }
    SendOrder(&rank, now);
  }
}

void Supervisor::Impl::SendOrder(TrackedRank* rank, Now now) {
  if (rank->order->is_sent || !rank->shim.IsOpen()) return;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      rank->order->kill_at - now.mono);
  const auto grace = static_cast<std::uint64_t>(
      std::clamp<std::int64_t>(left.count(), 0, kMaxGraceMs));
  rank->order->is_sent =
      rank->shim.SignalWithValue(OrderSignal(), kOrderTag | grace);
  rank->shim.Signal(SIGCONT);  // A stopped shim would sleep on it.
}

// --- Watching.

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

void Supervisor::Impl::MarkExitReported(const RankKey& key) {
  const auto rank = ranks_.find(key);
  if (rank == ranks_.end() || rank->second.phase != TrackPhase::kGone) return;
  rank->second.is_reported = true;
  (void)WriteReport(rank->second.files.record, ReportRecord{1, 1});
}

absl::Status Supervisor::Impl::RemoveRun(const RunId& run) {
  for (const auto& [key, rank] : ranks_) {
    if (key.run == run && rank.phase != TrackPhase::kGone) {
      return absl::FailedPreconditionError(fmt::format(
          "rank {} of attempt {} of run '{}' lives; stop the run first",
          key.rank.value, key.attempt.value, run));
    }
  }
  std::erase_if(ranks_, [&](const auto& entry) {
    if (entry.first.run != run) return false;
    store_.RemoveRank(entry.first);
    return true;
  });
  return absl::OkStatus();
}

std::vector<RankProcess> Supervisor::Impl::Ranks() const {
  std::vector<RankProcess> result;
  for (const auto& [key, rank] : ranks_) {
    RankProcess process;
    process.key = key;
    process.life = RankLife::kAlive;
    if (rank.phase == TrackPhase::kStarting) process.life = RankLife::kStarting;
    if (rank.phase == TrackPhase::kGone) process.life = RankLife::kExited;
    process.local_rank = rank.local_rank;
    process.pid = rank.identity ? rank.identity->rank_pid : 0;
    process.recorder_path = rank.recorder_path;
    process.log_format = rank.log_format;
    process.exit = rank.exit;
    process.is_exit_reported = rank.is_reported;
    process.was_killed = rank.was_killed;
    result.push_back(std::move(process));
  }
  return result;
}

// --- The public face.

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(
    SupervisorOptions options) {
  if (::access(options.shim_path.c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(fmt::format(
        "no shim program at '{}': {}; it is installed beside steadyrun-agent",
        options.shim_path, std::strerror(errno)));
  }
  if (absl::Status made =
          MakeDirectories(options.state_directory + "/ranks", 0700);
      !made.ok()) {
    return made;
  }
  auto impl = std::make_unique<Impl>(std::move(options));
  if (impl->epoll() < 0) {
    return absl::ResourceExhaustedError(
        fmt::format("cannot make an epoll: {}", std::strerror(errno)));
  }
  return std::unique_ptr<Supervisor>(new Supervisor(std::move(impl)));
}

Supervisor::Supervisor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Supervisor::~Supervisor() = default;

std::vector<NodeRunState> Supervisor::Adopt(Now now) {
  return impl_->Adopt(now);
}
bool Supervisor::HasLeftovers() const { return impl_->HasLeftovers(); }
RankFiles Supervisor::FilesOf(const RankKey& key) const {
  return impl_->FilesOf(key);
}
void Supervisor::Spawn(
    const SpawnRank& spawn, const std::string& recorder_path,
    const std::map<std::string, std::string>& base_environment,
    std::int32_t local_world_size) {
  impl_->Spawn(spawn, recorder_path, base_environment, local_world_size);
}
void Supervisor::Kill(const RunId& run, AttemptId below, Duration grace,
                      Now now) {
  impl_->Kill(run, below, grace, now);
}
std::vector<Event> Supervisor::Poll(Now now) { return impl_->Poll(now); }
int Supervisor::PollFd() const { return impl_->epoll(); }
void Supervisor::MarkExitReported(const RankKey& key) {
  impl_->MarkExitReported(key);
}
absl::Status Supervisor::RemoveRun(const RunId& run) {
  return impl_->RemoveRun(run);
}
std::vector<RankProcess> Supervisor::Ranks() const { return impl_->Ranks(); }
std::vector<UnkillableProcess> Supervisor::Unkillable() const {
  return impl_->Unkillable();
}

}  // namespace steadyrun::agent
