#include "agent/supervisor/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "agent/supervisor/rank_environment.h"
#include "agent/supervisor/shim_spawn.h"
#include "agent/supervisor/supervisor_impl.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// Attempts whose output is kept for people; older ones are removed.
constexpr std::int64_t kAttemptsKept = 3;
// A grace longer than this is an operator's mistake.
constexpr std::int64_t kMaxGraceMs = 3'600'000;

void CopyText(const std::string& text, char* out, std::size_t size) {
  std::memset(out, 0, size);
  if (text.size() < size) std::memcpy(out, text.data(), text.size());
}

}  // namespace

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

// --- After the end.

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
