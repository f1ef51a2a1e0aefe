#include "server/metrics/server_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "server/metrics/family_list.h"
#include "server/metrics/run_counts.h"

namespace steadyrun {
namespace {

// Words of policy and operators; a bound all the same.
constexpr std::size_t kMaxActions = 64;

double ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long total = 0;
  long resident = 0;
  const int read = std::fscanf(file, "%ld %ld", &total, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<double>(resident * ::sysconf(_SC_PAGESIZE))
                   : 0;
}

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) +
           static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double OpenFiles() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int count = -3;  // ".", ".." and the one that reads.
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

}  // namespace

class ServerMetrics::Impl {
 public:
  explicit Impl(Sources sources) : sources_(std::move(sources)) {}

  void Seed(const Snapshot& snapshot) {
    absl::MutexLock lock(&mutex_);
    for (const Incident& incident : snapshot.open_incidents) {
      runs_.Observe(incident, /*is_new=*/false);
    }
    for (const Checkpoint& checkpoint : snapshot.checkpoints) {
      runs_.Observe(checkpoint);
    }
  }

  void Observe(const Outcome& outcome) {
    absl::MutexLock lock(&mutex_);
    for (const Change& change : outcome.changes) {
      if (const auto* row = std::get_if<StepRow>(&change)) {
        runs_.Observe(*row);
      } else if (const auto* incident = std::get_if<Incident>(&change)) {
        runs_.Observe(*incident);
      } else if (const auto* checkpoint = std::get_if<Checkpoint>(&change)) {
        runs_.Observe(*checkpoint);
      } else if (const auto* audit = std::get_if<AuditEntry>(&change)) {
        CountAction(*audit);
      }
    }
  }

  void ObserveCommit(Duration took, bool ok) {
    absl::MutexLock lock(&mutex_);
    commit_seconds_.Observe(ToSeconds(took));
    commit_failures_ += ok ? 0 : 1;
  }

  void ObserveTickLag(Duration lag) {
    absl::MutexLock lock(&mutex_);
    tick_lag_.Observe(ToSeconds(lag));
  }

  std::string Render() {
    const auto view = sources_.live->View();
    const ServiceStatus status = sources_.live->Status();
    FamilyList list;
    {
      absl::MutexLock lock(&mutex_);
      runs_.Write(*view, sources_.clock->WallNow(), &list);
      WriteOwn(&list);
    }
    WriteService(status, *view, &list);
    WriteAgents(*view, &list);
    WriteNotifications(status, &list);
    WriteWrongTokens(&list);
    WriteProcess(status, &list);
    return list.Render();
  }

 private:
  void CountAction(const AuditEntry& audit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // "refused: the run is paused" counts as refused.
    const std::string outcome =
        audit.outcome.substr(0, audit.outcome.find_first_of(": "));
    const std::pair key(audit.action, outcome);
    if (actions_.size() >= kMaxActions && actions_.count(key) == 0) {
      ++actions_[{"other", "other"}];
    } else {
      ++actions_[key];
    }
  }

  void WriteOwn(FamilyList* list) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto actions = list->Counter("steadyrun_actions_total",
                                 "Actions of operators and of policy.");
    for (const auto& [key, count] : actions_) {
      actions.Add(static_cast<double>(count),
                  {{"action", key.first}, {"outcome", key.second}});
    }
    list->Histogram("steadyrun_storage_commit_seconds",
                    "Duration of commits, the disk included.")
        .Add(commit_seconds_);
    list->Counter("steadyrun_storage_commit_failures_total",
                  "Commits that failed; each is tried again.")
        .Add(static_cast<double>(commit_failures_));
    list->Histogram("steadyrun_engine_tick_lag_seconds",
                    "How late ticks of the engine came.")
        .Add(tick_lag_);
  }

  static void WriteService(const ServiceStatus& status, const EngineView& view,
                           FamilyList* list) {
    list->Gauge("steadyrun_build_info", "1, labelled with what was built.")
        .Add(1, {{"version", status.version}, {"commit", status.commit}});
    list->Gauge("steadyrun_storage_ok", "1 if the last commit worked.")
        .Add(status.storage_ok ? 1 : 0);
    list->Gauge("steadyrun_storage_bytes", "Database with its log on disk.")
        .Add(static_cast<double>(status.storage_bytes));
    list->Gauge("steadyrun_engine_queue_depth", "Events that wait.")
        .Add(static_cast<double>(status.queue_depth));
    list->Gauge("steadyrun_engine_queue_capacity", "Events that may wait.")
        .Add(static_cast<double>(status.queue_capacity));
    list->Counter("steadyrun_engine_queue_refused_total",
                  "Events that found the queue full.")
        .Add(static_cast<double>(status.queue_refused));
    list->Gauge("steadyrun_detector_lag_seconds",
                "Time since the engine and its detectors last looked.")
        .Add(ToSeconds(status.tick_age));
    list->Gauge("steadyrun_server_epoch", "Starts of the service, counted.")
        .Add(static_cast<double>(status.server_epoch));
    auto nodes = list->Gauge("steadyrun_nodes", "Nodes by state.");
    std::map<std::string, int> by_state = {
        {"connected", 0}, {"silent", 0}, {"lost", 0}, {"quarantined", 0}};
    for (const NodeView& node : view.nodes) {
      const auto it = by_state.find(node.status);
      if (it != by_state.end()) ++it->second;
    }
    for (const auto& [state, count] : by_state) {
      nodes.Add(count, {{"state", state}});
    }
    list->Gauge("steadyrun_agents_connected", "Streams of agents that are up.")
        .Add(static_cast<double>(view.sessions));
  }

  void WriteAgents(const EngineView&, FamilyList* list) const {
    if (sources_.traffic) {
      const AgentTrafficCounts counts = sources_.traffic();
      list->Counter("steadyrun_agent_messages_total", "Messages of agents.")
          .Add(static_cast<double>(counts.messages));
      auto reports = list->Counter("steadyrun_agent_reports_total",
                                   "Reports of agents by what became of them.");
      reports.Add(static_cast<double>(counts.reports_accepted),
                  {{"outcome", "accepted"}});
      reports.Add(static_cast<double>(counts.reports_malformed),
                  {{"outcome", "malformed"}});
      reports.Add(static_cast<double>(counts.reports_refused),
                  {{"outcome", "refused"}});
      list->Counter("steadyrun_agent_commands_dropped_total",
                    "Commands for agents that do not read.")
          .Add(static_cast<double>(counts.commands_dropped));
    }
  }

  void WriteWrongTokens(FamilyList* list) const {
    if (!sources_.wrong_tokens) return;
    const WrongTokenLimit::Counts counts = sources_.wrong_tokens();
    auto tokens = list->Counter("steadyrun_http_wrong_tokens_total",
                                "Tokens not known here, and those not looked "
                                "at after too many of them.");
    tokens.Add(static_cast<double>(counts.wrong), {{"outcome", "unknown"}});
    tokens.Add(static_cast<double>(counts.refused), {{"outcome", "refused"}});
    list->Gauge("steadyrun_http_wrong_token_addresses",
                "Addresses that sent a wrong token lately.")
        .Add(static_cast<double>(counts.addresses));
    list->Counter("steadyrun_http_wrong_token_addresses_forgotten_total",
                  "Addresses left out of the table because it was full.")
        .Add(static_cast<double>(counts.forgotten));
  }

  // Sinks are few, named by the program or, for mail, by its configuration.
  void WriteNotifications(const ServiceStatus& status, FamilyList* list) const {
    auto sent = list->Counter("steadyrun_notifications_total",
                              "Messages to people by sink and outcome.");
    const auto add = [&](const std::string& sink, std::uint64_t delivered,
                         std::uint64_t failed, std::uint64_t dropped) {
      sent.Add(static_cast<double>(delivered),
               {{"sink", sink}, {"outcome", "delivered"}});
      sent.Add(static_cast<double>(failed),
               {{"sink", sink}, {"outcome", "failed"}});
      sent.Add(static_cast<double>(dropped),
               {{"sink", sink}, {"outcome", "dropped"}});
    };
    if (sources_.notifications) {
      for (const Pager::SinkCounts& sink : sources_.notifications()) {
        add("page_" + sink.sink, sink.counts.delivered, sink.counts.failed,
            sink.counts.dropped);
      }
    }
    auto failing = list->Gauge("steadyrun_notification_sink_failing",
                               "1 while the newest attempt had failed.");
    for (const NotificationStatus& one : status.notifications) {
      add(one.sink, one.delivered, one.failed, one.dropped);
      failing.Add(one.error.empty() ? 0 : 1, {{"sink", one.sink}});
    }
  }

  static void WriteProcess(const ServiceStatus& status, FamilyList* list) {
    list->Counter("steadyrun_bugs_total",
                  "Broken expectations the process could live with.")
        .Add(static_cast<double>(BugCount()));
    list->Gauge("process_resident_memory_bytes", "Resident memory.")
        .Add(ResidentBytes());
    list->Counter("process_cpu_seconds_total", "CPU time used.")
        .Add(CpuSeconds());
    list->Gauge("process_open_fds", "Open file descriptors.").Add(OpenFiles());
    list->Gauge("process_start_time_seconds", "When the process started.")
        .Add(ToUnixSeconds(status.started));
  }

  const Sources sources_;
  absl::Mutex mutex_;
  RunCounts runs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, std::string>, std::uint64_t> actions_
      ABSL_GUARDED_BY(mutex_);
  BucketCounts commit_seconds_ ABSL_GUARDED_BY(mutex_){
      {0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10}};
  BucketCounts tick_lag_ ABSL_GUARDED_BY(mutex_){
      {0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 1, 2, 5, 10}};
  std::uint64_t commit_failures_ ABSL_GUARDED_BY(mutex_) = 0;
};

ServerMetrics::ServerMetrics(Sources sources)
    : impl_(std::make_unique<Impl>(std::move(sources))) {}
ServerMetrics::~ServerMetrics() = default;

void ServerMetrics::Seed(const Snapshot& snapshot) { impl_->Seed(snapshot); }
void ServerMetrics::Observe(const Outcome& outcome) { impl_->Observe(outcome); }
void ServerMetrics::ObserveCommit(Duration took, bool ok) {
  impl_->ObserveCommit(took, ok);
}
void ServerMetrics::ObserveTickLag(Duration lag) { impl_->ObserveTickLag(lag); }
std::string ServerMetrics::Render() { return impl_->Render(); }

}  // namespace steadyrun
