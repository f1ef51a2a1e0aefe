#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/simulation/context.h"
#include "tests/simulation/sim_cluster.h"
#include "tests/simulation/sim_disk.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/watcher.h"

namespace steadyrun::sim {

// What must never happen, checked at every event against the ground truth.
//
//   S1   one process of a (run, rank) on a node           OnSpawned
//   S2   attempts exclude each other: a process of g'     OnSpawned, OnCommit,
//        starts only if none of g < g' lives, except      OnEngineStep
//        on nodes recorded as fenced; a proof of the
//        kinds confirmed and rebooted is true; a fenced
//        rank's steps and shards never count
//   S3   (run, attempt, rank) starts at most once, ever;  OnSpawned,
//        only after `started` is on that node's disk      OnAgentEffect
//   S4   an acked report is committed; only committed     OnServerEffect,
//        reports leave a spool                            OnReportsDropped
//   S5   a report is applied at most once; a request is   OnCommit
//        carried out at most once
//   S6   no false restart: the truth says the attempt     OnEngineStep
//        could not go on, or a deadline of policy held
//   S7   fail-static: ranks are killed only below a floor OnAgentEffect
//        that the service ordered and the node persisted
//   S8   write-ahead: a command leaves only if the        OnServerEffect
//        committed state asks for it
//   S9   attempts, floors, started, epochs, cursors never OnCommit,
//        decrease                                         OnAgentEffect
//   S10  a server of an older epoch, or a copy of equal   OnAgentEffect
//        epoch, has no effect
//   S11  automatic restarts stay within the budget, and   OnEngineStep
//        each is on record in the state it leads to
//   S12  no verdict of silence or hang while most nodes   OnEngineStep
//        are silent, nor while the service settles
//   S13  a resume target is verified, not distrusted,     OnEngineStep,
//        and not from after a NaN of its own attempt;     OnTrainingStarted
//        all ranks load the same checkpoint
//   S14  every automatic action has a decision with a     OnEngineStep
//        reason; every order an audit entry (authority of identities is the
//        adapters' part: integration tests)
//   S15  bounds of lists, queues and command rates        OnCommit, liveness
//   S16  conservation: every spooled report is in the     liveness
//        end committed, or covered by a gap
//   S17  only legal edges of RunPhase                     OnEngineStep
//   S19  a session that has ended has no effect           OnEngineStep
//   S20  after pause, halt or stop by a person nothing    OnEngineStep,
//        starts before a person says so; while a run is   OnServerEffect
//        held no Start and no Stop leaves that was not
//        ordered before, or by a person since
// Not here: S18 (schema: tests of storage), the parts of S3 and S10 that are
// about two live services on copies of one database beyond what an agent can
// see (one database is locked by one process: tests of storage).
class Invariants final : public Watcher {
 public:
  struct Violation {
    std::string rule;
    std::string what;
    Duration at;
  };
  struct Bounds {
    int restarts_per_hour = 30;
    bool expects_no_restart = false;  // A history without faults.
  };

  explicit Invariants(SimContext& context) : context_(context) {}
  // Before the first event. Both outlive this.
  void Attach(const SimCluster* cluster, const ServerStore* store) {
    cluster_ = cluster;
    store_ = store;
  }
  void SetBounds(const Bounds& bounds) { bounds_ = bounds; }

  const std::optional<Violation>& violation() const { return violation_; }
  void Violate(std::string rule, std::string what);

  // --- Watcher
  void OnServerStarted(std::uint64_t epoch) override;
  void OnEngineStep(const Event& event, const Outcome& outcome) override;
  void OnCommit(const std::vector<Change>& changes) override;
  void OnCommitted() override;
  void OnServerEffect(const Effect& effect, int node) override;
  void OnAgentEffect(int node, const agent::Effect& effect,
                     const AgentDisk& disk) override;
  void OnReportSpooled(int node, const std::string& boot_id,
                       const Report& report) override;
  void OnSpoolLost(int node) override;
  void OnReportsDropped(int node, const std::string& boot_id,
                        ReportSeq through) override;
  void OnStaleStream(int node, bool is_open) override;
  void OnNodeReborn(int node, const std::string& boot_id) override;
  void OnSpawned(const Process& process) override;
  void OnGone(const Process& process) override;
  void OnTrainingStarted(const std::vector<const Process*>& ranks) override;

  // --- For liveness and statistics.
  int automatic_restarts() const { return automatic_restarts_; }
  int halts() const { return halts_; }
  const std::map<RunId, std::string>& last_page() const { return last_page_; }
  std::size_t OutstandingReports(int node) const;

 private:
  using RunNode = std::pair<RunId, int>;
  // A report on its way from a spool to the store.
  struct Tracked {
    std::size_t kind = 0;  // Index of its body.
    RunId run;
    AttemptId attempt;
    Step step;
    Rank rank;
    std::int64_t stamp = 0;
    bool has_error = false;  // Of no consequence.
  };

  // invariants_engine.cc
  void ObserveEvent(const Event& event, const Outcome& outcome);
  void ObserveChanges(const Outcome& outcome);
  void TraceHeartbeat(const NodeState& state);
  const RunState* SeenRun(const RunId& name) const;
  void CheckRunChange(const Event& event, const Outcome& outcome,
                      const RunState& before, const RunState& after);
  void CheckAutomaticStop(const RunState& before, const RunState& after,
                          const Outcome& outcome);
  void CheckStart(const RunState& before, const RunState& after);
  std::string WhyItCouldGoOn(const RunState& before) const;
  bool HasSilentNode(const RunState& state, Duration at_least) const;
  int SilentNodes(const RunState& state, Duration at_least) const;
  // invariants_store.cc
  void CountRestart(const RunId& run);
  void CheckCommittedRun(const RunState& before, const RunState& after);
  void CheckCommittedRow(const StepRow& row);
  void CheckCommittedCheckpoint(const Checkpoint& checkpoint);
  void CheckProof(const RunState& state, const NodeAssignment& assignment);
  void ObserveHold(const RunState& before, const RunState& after);
  void CheckCommand(const Command& command, int node);
  void CheckHeldCommand(const Command& command);
  std::string WhyNotDue(const Command& command, int node,
                        const RunState& run) const;
  void CheckAck(const AckReports& ack, int node);
  bool IsCommitted(const Tracked& report) const;
  // invariants_agent.cc
  void CheckPersist(int node, const agent::PersistState& persist,
                    const AgentDisk& disk);
  int IndexOf(const NodeId& node) const;
  // From here on, attempts up to the present one may live on there.
  void Fence(const RunState& state, const NodeId& node);

  SimContext& context_;
  const SimCluster* cluster_ = nullptr;
  const ServerStore* store_ = nullptr;
  Bounds bounds_;
  std::optional<Violation> violation_;

  // As the engine sees it: ahead of the store by what is not committed yet.
  std::map<RunId, RunState> seen_runs_;
  std::map<ServerStore::CheckpointKey, Checkpoint> seen_checkpoints_;
  std::map<std::pair<RunId, std::int64_t>, Incident> seen_incidents_;
  std::map<SessionId, int> sessions_;
  std::map<SessionId, std::string> session_boots_;
  std::map<int, SessionId> live_session_;
  std::map<int, Duration> heard_;  // Last message the engine took.
  Duration server_started_{};
  Duration last_tick_{};
  Duration late_tick_{};

  // States within the newest transaction, and the one before it.
  std::map<RunId, std::vector<RunState>> durable_runs_;
  // (run, node) -> attempts up to this one may live on behind the fence.
  std::map<RunNode, AttemptId> fenced_;
  std::map<RunNode, AttemptId> stop_sent_;  // Highest floor ever ordered.
  // Committed as held: which attempt is meant to live, if any; whether a
  // person has ordered its stop.
  struct Held {
    AttemptId live;
    bool may_stop = false;
  };
  std::map<RunId, Held> held_;
  std::set<std::tuple<RunId, AttemptId, Rank>> spawned_;
  std::map<RunId, std::deque<Duration>> restarts_;  // Committed.
  std::set<std::pair<RunId, AttemptId>> pending_restarts_;
  // Attempts of which some node said that it could not start its ranks.
  std::set<std::pair<RunId, AttemptId>> start_failures_;
  int automatic_restarts_ = 0;
  int halts_ = 0;

  std::vector<std::string> boots_;  // Present boot_id of each node.
  std::vector<std::map<ReportSeq, Tracked>> reports_;  // Not yet dropped.
  struct Origin {
    int node = 0;
    ReportSeq seq;
  };
  std::map<std::int64_t, Origin> origins_;  // By stamp.
  // Stamp -> epoch of the service that applied it last.
  std::map<std::int64_t, std::uint64_t> applied_stamps_;
  std::set<std::tuple<RunId, AttemptId, Step>> rows_;
  std::map<std::tuple<RunId, AttemptId, Rank>, int> exits_spooled_;
  // By the present life of the service.
  std::map<std::tuple<RunId, AttemptId, Rank>, int> exits_committed_;
  std::set<std::tuple<RunId, AttemptId, Rank>> exits_known_;
  std::map<std::string, int> requests_done_;
  std::map<int, std::deque<Duration>> commands_sent_;
  std::set<int> stale_streams_;
  std::map<int, agent::DurableState> persists_;  // Last asked for.
  std::map<RunId, std::string> last_page_;
};

}  // namespace steadyrun::sim
