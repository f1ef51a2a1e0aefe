#include "agent/app/local_ranks.h"

#include <iterator>
#include <utility>

#include "agent/collectors/process_stat.h"
#include "agent/supervisor/rank_environment.h"
#include "base/digest.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// Heartbeats tell of it, every 500 ms by default.
constexpr Duration kObserveInterval = std::chrono::milliseconds(100);
constexpr Duration kSuperviseInterval = std::chrono::milliseconds(50);

RecorderSpec SpecOf(const RankKey& key, std::int32_t local_rank) {
  RecorderSpec spec;
  spec.run = key.run;
  spec.attempt = key.attempt;
  spec.rank = key.rank;
  spec.local_rank = local_rank;
  return spec;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalRanks>> LocalRanks::Create(
    LocalRanksOptions options) {
  auto supervisor = Supervisor::Create(options.supervisor);
  if (!supervisor.ok()) return supervisor.status();
  return std::unique_ptr<LocalRanks>(
      new LocalRanks(std::move(options), *std::move(supervisor)));
}

LocalRanks::LocalRanks(LocalRanksOptions options,
                       std::unique_ptr<Supervisor> supervisor)
    : options_(std::move(options)),
      supervisor_(std::move(supervisor)),
      home_(options_.recorder_root, options_.supervisor.state_directory,
            options_.supervisor.state_uuid),
      recorders_({.observe_interval = kObserveInterval},
                 ProcessTable(options_.supervisor.proc_root)) {}

std::vector<NodeRunState> LocalRanks::Adopt(Now now) {
  std::vector<NodeRunState> survivors = supervisor_->Adopt(now);
  for (const RankProcess& rank : supervisor_->Ranks()) {
    // One whose end is to be told yet has a recorder to be read to its end.
    if (rank.life == RankLife::kExited && rank.is_exit_reported) continue;
    Watch(rank.key, rank.recorder_path, rank.local_rank, rank.log_format);
    live_[rank.key] = rank.pid;
    recorders_.SetPid(rank.key.run, rank.key.attempt, rank.key.rank, rank.pid);
  }
  return survivors;
}

void LocalRanks::Watch(const RankKey& key, const std::string& recorder_path,
                       std::int32_t local_rank, const std::string& log_format) {
  if (!recorder_path.empty()) {
    const absl::Status added =
        recorders_.Add(recorder_path, SpecOf(key, local_rank));
    if (!added.ok()) log_.push_back(std::string(added.message()));
  }
  if (!log_format.empty() && IsKnownLogFormat(log_format)) {
    logs_.try_emplace(key, key.run, key.attempt, key.rank,
                      supervisor_->FilesOf(key).stdout_path);
  }
}

std::string LocalRanks::MakeRecorder(const SpawnRank& spawn) {
  const RankStart& rank = spawn.start.ranks.front();
  RecorderSpec spec =
      SpecOf({spawn.run, spawn.attempt, rank.rank}, rank.local_rank);
  spec.incarnation = Incarnation{RandomU64()};
  spec.world_size = spawn.start.world_size;
  const auto path = CreateRecorderInFirst(
      home_.Prepare(spawn.run, spawn.attempt, rank.rank), spec);
  if (path.ok()) return *path;
  log_.push_back(std::string(path.status().message()));
  return "";
}

void LocalRanks::Spawn(const SpawnRank& spawn) {
  const RankKey key{spawn.run, spawn.attempt, spawn.start.ranks.front().rank};
  if (!IsKnownLogFormat(spawn.start.log_format)) {
    refused_.push_back(RankSpawnFailed{
        key.run, key.attempt, key.rank,
        fmt::format("log format '{}' is unknown; expected \"megatron\" or none",
                    spawn.start.log_format)});
    return;
  }
  const std::string recorder = MakeRecorder(spawn);
  supervisor_->Spawn(spawn, recorder, OwnEnvironment(), spawn.local_world_size);
  live_[key] = 0;
  Watch(key, recorder, spawn.start.ranks.front().local_rank,
        spawn.start.log_format);
}

void LocalRanks::Kill(const KillRanks& order, Now now) {
  supervisor_->Kill(order.run, order.below, order.grace, now);
}

void LocalRanks::RemoveRun(const RunId& run) {
  const absl::Status removed = supervisor_->RemoveRun(run);
  if (!removed.ok()) {
    log_.push_back(std::string(removed.message()));
    return;
  }
  home_.RemoveRun(run);
}

void LocalRanks::TakeReadings(RecorderReadings readings, Readings* out) {
  std::move(readings.events.begin(), readings.events.end(),
            std::back_inserter(out->events));
  std::move(readings.saved.begin(), readings.saved.end(),
            std::back_inserter(out->saved));
  std::move(readings.log.begin(), readings.log.end(),
            std::back_inserter(out->log));
}

void LocalRanks::PollLogs(Now now, Readings* out) {
  for (auto& [key, reader] : logs_) {
    const Step before = reader.last_step();
    for (Event& event : reader.Poll(now)) {
      out->events.push_back(std::move(event));
    }
    if (reader.last_step() != before) {
      recorders_.SetLogStep(key.run, key.attempt, key.rank, reader.last_step(),
                            now);
    }
  }
}

void LocalRanks::End(const RankExited& exit, Now now, Readings* out) {
  const RankKey key{exit.run, exit.attempt, exit.rank};
  TakeReadings(recorders_.Remove(key.run, key.attempt, key.rank, now), out);
  if (const auto reader = logs_.find(key); reader != logs_.end()) {
    for (Event& event : reader->second.Drain(now)) {
      out->events.push_back(std::move(event));
    }
    logs_.erase(reader);
  }
  live_.erase(key);
}

// A process in uninterruptible sleep outlives SIGKILL: its attempt cannot be
// proved stopped here, and a person should know why.
void LocalRanks::TellUnkillable(Readings* out) {
  std::set<std::int32_t> now;
  for (const UnkillableProcess& process : supervisor_->Unkillable()) {
    now.insert(process.pid);
    if (unkillable_.contains(process.pid)) continue;
    out->log.push_back(fmt::format(
        "run {} attempt {} rank {}: process {} does not die of SIGKILL, state "
        "{}, waits in '{}'",
        process.key.run, process.key.attempt.value, process.key.rank.value,
        process.pid, process.state, process.wait_channel));
  }
  unkillable_ = std::move(now);
}

LocalRanks::Readings LocalRanks::Poll(Now now, bool has_ended) {
  Readings out;
  out.log = std::exchange(log_, {});
  out.events = std::exchange(refused_, {});
  TakeReadings(recorders_.Poll(now), &out);
  PollLogs(now, &out);
  // It asks the kernel about each rank; an end is told by its descriptor.
  if (!has_ended && now.mono - supervised_ < kSuperviseInterval) return out;
  supervised_ = now.mono;
  TellUnkillable(&out);
  for (Event& event : supervisor_->Poll(now)) {
    if (const auto* spawned = std::get_if<RankSpawned>(&event)) {
      live_[{spawned->run, spawned->attempt, spawned->rank}] = spawned->pid;
      recorders_.SetPid(spawned->run, spawned->attempt, spawned->rank,
                        spawned->pid);
    } else if (const auto* failed = std::get_if<RankSpawnFailed>(&event)) {
      RankExited none;
      none.run = failed->run;
      none.attempt = failed->attempt;
      none.rank = failed->rank;
      End(none, now, &out);
    } else if (const auto* gone = std::get_if<RankGone>(&event)) {
      End(gone->exit, now, &out);
    }
    out.events.push_back(std::move(event));
  }
  return out;
}

void LocalRanks::CommitCursors() {
  recorders_.CommitCursors();
  for (auto& [key, reader] : logs_) reader.CommitCursor();
}

}  // namespace steadyrun::agent
