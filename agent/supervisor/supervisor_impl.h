#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/supervisor/process_scan.h"
#include "agent/supervisor/rank_record.h"
#include "agent/supervisor/supervisor.h"
#include "agent/supervisor/tracked_rank.h"

namespace steadyrun::agent {

// The supervisor's inside, in three files by what they do: supervisor.cc
// starts and orders, supervisor_adopt.cc takes over, supervisor_watch.cc
// watches and proves.
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

}  // namespace steadyrun::agent
