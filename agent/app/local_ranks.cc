#include "agent/app/local_ranks.h"

#include <iterator>
#include <optional>
#include <utility>

#include "agent/collectors/process_stat.h"
#include "agent/logs/scalar_dir.h"
#include "agent/supervisor/rank_environment.h"
#include "base/digest.h"
#include "base/file.h"
#include "proto/messages/log_format.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// Heartbeats tell of it, every 500 ms by default.
constexpr Duration kObserveInterval = std::chrono::milliseconds(100);
constexpr Duration kSuperviseInterval = std::chrono::milliseconds(50);
// A line is a step of some 100 ms or more; each look asks the kernel about two
// files a rank.
constexpr Duration kLogInterval = std::chrono::milliseconds(50);

// In the rank's directory.
constexpr char kCursorName[] = "/log.cursor";
constexpr char kPathName[] = "/log.path";
constexpr std::size_t kMaxPathBytes = 4096;

// The path that this rank's agent reads; none: another rank's does.
std::optional<std::string> PathOfRank(const std::string& path, Rank rank) {
  const std::size_t at = path.find(kRankInPath);
  if (at == std::string::npos) {
    return rank == Rank{0} ? std::optional(path) : std::nullopt;
  }
  std::string own = path;
  own.replace(at, kRankInPath.size(), std::to_string(rank.value));
  return own;
}

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
    Watch(rank.key, rank.recorder_path, rank.local_rank);
    const auto path = ReadFile(
        supervisor_->FilesOf(rank.key).directory + kPathName, kMaxPathBytes);
    FollowLog(rank.key, {.format = rank.log_format,
                         .path = path.ok() ? *path : std::string()});
    live_[rank.key] = rank.pid;
    recorders_.SetPid(rank.key.run, rank.key.attempt, rank.key.rank, rank.pid);
  }
  return survivors;
}

void LocalRanks::Watch(const RankKey& key, const std::string& recorder_path,
                       std::int32_t local_rank) {
  if (recorder_path.empty()) return;
  const absl::Status added =
      recorders_.Add(recorder_path, SpecOf(key, local_rank));
  if (!added.ok()) log_.push_back(std::string(added.message()));
}

void LocalRanks::FollowLog(const RankKey& key, const LogRequest& request) {
  if (request.format.empty()) return;
  const RankFiles files = supervisor_->FilesOf(key);
  LogStepOptions lines{.run = key.run,
                       .attempt = key.attempt,
                       .rank = key.rank,
                       .format = request.format,
                       .stdout_path = files.stdout_path,
                       .stderr_path = files.stderr_path,
                       .cursor_path = files.directory + kCursorName};
  if (request.path.empty()) {
    logs_.try_emplace(key, std::move(lines));
    return;
  }
  const auto path = PathOfRank(request.path, key.rank);
  if (!path) return;
  if (request.format == kTensorBoardFormat ||
      request.format == kDeepSpeedCsvFormat) {
    using Kind = ScalarDirOptions::Kind;
    ScalarDirOptions scalars{.run = key.run,
                             .attempt = key.attempt,
                             .rank = key.rank,
                             .kind = request.format == kTensorBoardFormat
                                         ? Kind::kTensorBoard
                                         : Kind::kDeepSpeedCsv,
                             .directory = *path,
                             .cursor_path = lines.cursor_path,
                             .is_new = request.is_new};
    paths_.Follow(key, [scalars = std::move(scalars)] {
      return std::make_unique<ScalarDirReader>(scalars);
    });
    return;
  }
  lines.stdout_path = *path;
  lines.stderr_path.clear();
  lines.begins_at_end = request.is_new;
  paths_.Follow(key, [lines = std::move(lines)] {
    return std::make_unique<LogStepReader>(lines);
  });
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
  const absl::Status log =
      CheckLogSource(spawn.start.log_format, spawn.start.log_path);
  if (!log.ok()) {
    refused_.push_back(RankSpawnFailed{key.run, key.attempt, key.rank,
                                       std::string(log.message())});
    return;
  }
  const std::string recorder = MakeRecorder(spawn);
  supervisor_->Spawn(spawn, recorder, OwnEnvironment(), spawn.local_world_size);
  live_[key] = 0;
  Watch(key, recorder, spawn.start.ranks.front().local_rank);
  if (!spawn.start.log_path.empty()) KeepLogPath(key, spawn.start.log_path);
  FollowLog(key, {.format = spawn.start.log_format,
                  .path = spawn.start.log_path,
                  .is_new = true});
}

// For the next agent: the rank's record has no room for it.
void LocalRanks::KeepLogPath(const RankKey& key, const std::string& path) {
  const absl::Status kept = WriteFileAtomically(
      supervisor_->FilesOf(key).directory + kPathName, path, 0600);
  if (!kept.ok()) log_.push_back(std::string(kept.message()));
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
  for (const Event& event : readings.events) {
    if (const auto* steps = std::get_if<StepsRead>(&event)) {
      LeaveToLibrary(steps->block);
    }
  }
  std::move(readings.events.begin(), readings.events.end(),
            std::back_inserter(out->events));
  std::move(readings.saved.begin(), readings.saved.end(),
            std::back_inserter(out->saved));
  std::move(readings.log.begin(), readings.log.end(),
            std::back_inserter(out->log));
}

// Two sources of one rank's steps would count them differently.
void LocalRanks::LeaveToLibrary(const StepBlock& block) {
  for (const std::uint32_t rank : block.ranks) {
    const RankKey key{block.run, block.attempt,
                      Rank{static_cast<std::int32_t>(rank)}};
    if (logs_.erase(key) == 0 && !paths_.Drop(key)) continue;
    log_.push_back(fmt::format(
        "run {} attempt {} rank {}: its code reports its steps itself; its "
        "output is not followed any more",
        key.run, key.attempt.value, key.rank.value));
  }
}

void LocalRanks::TakeLog(std::vector<Event> events, LogStepReader* reader,
                         Readings* out) {
  std::move(events.begin(), events.end(), std::back_inserter(out->events));
  for (std::string& note : reader->TakeNotes()) {
    out->log.push_back(std::move(note));
  }
}

void LocalRanks::TakePaths(Now now, Readings* out) {
  for (PathFollower::Reading& reading : paths_.Take()) {
    std::move(reading.events.begin(), reading.events.end(),
              std::back_inserter(out->events));
    std::move(reading.notes.begin(), reading.notes.end(),
              std::back_inserter(out->log));
    recorders_.SetLogStep(reading.key.run, reading.key.attempt,
                          reading.key.rank, reading.last_step, now);
  }
}

void LocalRanks::PollLogs(Now now, Readings* out) {
  if (now.mono - logs_read_ < kLogInterval) return;
  logs_read_ = now.mono;
  TakePaths(now, out);
  for (auto& [key, reader] : logs_) {
    const Step before = reader.last_step();
    TakeLog(reader.Poll(now), &reader, out);
    if (reader.last_step() != before) {
      recorders_.SetLogStep(key.run, key.attempt, key.rank, reader.last_step(),
                            now);
    }
  }
}

// The exit is told with the step that the last lines told of, as heartbeats
// end a run before its last reports have come.
RankObserved LocalRanks::LastStepOf(const RankKey& key, Step step) const {
  RankObserved observed;
  observed.run = key.run;
  observed.state.rank = key.rank;
  observed.state.attempt = key.attempt;
  observed.state.life = RankLife::kAlive;
  observed.state.step = step;
  observed.state.phase = Phase::kStep;
  for (const RankProcess& rank : supervisor_->Ranks()) {
    if (rank.key == key) observed.state.local_rank = rank.local_rank;
  }
  return observed;
}

void LocalRanks::End(const RankExited& exit, Now now, Readings* out) {
  const RankKey key{exit.run, exit.attempt, exit.rank};
  TakeReadings(recorders_.Remove(key.run, key.attempt, key.rank, now), out);
  if (const auto reader = logs_.find(key); reader != logs_.end()) {
    TakeLog(reader->second.Drain(now), &reader->second, out);
    // Always: what was read a moment ago may not have been observed yet.
    if (reader->second.last_step() > kNoStep) {
      out->events.push_back(LastStepOf(key, reader->second.last_step()));
    }
    logs_.erase(reader);
  }
  paths_.End(key);  // What it still wrote comes with a later Poll.
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
  for (auto& [key, reader] : logs_) reader.WriteCursor(reader.Cursor());
  paths_.CommitCursors();
}

}  // namespace steadyrun::agent
