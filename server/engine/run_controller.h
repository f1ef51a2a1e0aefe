#pragma once

// One run: events in, detectors, incidents, recovery, commands out. Holds all
// that is known about the run; what is durable is in RunState, Incident and
// Checkpoint and leaves as changes, the rest is told again by the agents'
// heartbeats after a restart.
//
// After every event that concerns the run, Conclude() draws the conclusions at
// once: nothing that can be decided waits for a tick.

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/run_watch.h"
#include "server/engine/cluster_source.h"
#include "server/engine/effect.h"
#include "server/engine/goodput_window.h"
#include "server/engine/ledger.h"
#include "server/engine/loss_line.h"
#include "server/engine/step_join.h"
#include "server/engine/view.h"
#include "server/incident/incident_book.h"
#include "server/model/run_state.h"
#include "server/policy/policy.h"
#include "server/recovery/recovery_machine.h"

namespace steadyrun {

class RunController {
 public:
  // A run just launched, or one from the store (is_restored).
  RunController(RunState state, Policy policy, EngineCore core,
                bool is_restored, Now now);
  // Of a restored run; before the first event.
  void RestoreIncident(const Incident& incident, Now now);
  void RestoreCheckpoint(const Checkpoint& checkpoint);

  const RunState& State() const { return state_; }
  const Ledger& Checkpoints() const { return ledger_; }
  // Whether a heartbeat of this node may matter to the run. A spare's does
  // not: a run that waits for nodes looks when one connects, and on ticks.
  bool Concerns(const NodeEntry& node) const;
  // Ended, and nothing more to be said or stored.
  bool IsAtRest(Now now) const;
  // Whether the node is kept from other runs.
  bool Holds(const NodeId& node) const;

  // --- Events. Conclude() must follow.
  void OnHeartbeat(const NodeEntry& node, Now now, Outcome* out);
  enum class Taken {
    kApplied,
    kHeld,   // `held` is released when its row is closed.
    kStale,  // Of another attempt: counts for nothing.
  };
  Taken OnReport(const NodeEntry& node, const ReportBody& body,
                 const HeldReport& held, Now now, Outcome* out);
  void OnTick(Now now, Outcome* out);
  // The service was away or late: what was not heard means nothing.
  void OnLateTick(Now now);
  Advanced OnOrder(OperatorOrdered order, Now now, Outcome* out);
  // A checkpoint that an operator ordered; the agreed step.
  absl::StatusOr<Step> OnCheckpointOrdered(const std::string& request_id,
                                           const std::string& why, Now now,
                                           Outcome* out);

  // Decides what follows, and emits changes and commands.
  void Conclude(Now now, Outcome* out);
  // The newest heartbeat of `node` may want commands.
  void SendCommandsTo(const NodeEntry& node, Now now, Outcome* out);

  RunView View(Now now) const;

 private:
  struct HandledCause {
    IncidentKind kind;
    Culprit culprit;
    Step step;
    std::string signature;  // Known later than the exit itself.
    friend bool operator==(const HandledCause&, const HandledCause&) = default;
  };

  // run_reports.cc
  bool IsCurrent(AttemptId attempt) const;
  Taken OnSteps(const StepBlock& block, const HeldReport& held, Now now,
                Outcome* out);
  Taken OnExited(const NodeEntry& node, const RankExited& exit, Now now,
                 Outcome* out);
  Taken OnShard(const NodeEntry& node, const CheckpointShard& shard, Now now,
                Outcome* out);
  std::string WhyNotToTrust(Step step) const;
  void OnCheckpointVerified(const Checkpoint& checkpoint, Now now,
                            Outcome* out);
  void OnShardBad(const NodeEntry& node, const CheckpointShardBad& bad, Now now,
                  Outcome* out);
  void OnResult(const NodeEntry& node, const CommandResult& result, Now now,
                Outcome* out);
  void OnVerifyResult(const NodeEntry& node, const CommandResult& result,
                      Now now, Outcome* out);
  void OnStartResult(const NodeEntry& node, const CommandResult& result,
                     Now now);
  void OnSaveResult(const NodeEntry& node, const CommandResult& result, Now now,
                    Outcome* out);
  Taken OnFinished(const RankFinished& finished);
  void TakeClosed(std::vector<ClosedRow> closed, Now now, Outcome* out);
  void AdvanceSteps(Now now, Outcome* out);
  void AdvanceStepsWithoutSilent(Now now, Outcome* out);
  Step HealthyUpTo(Step step) const;
  void NoteStep(Step step, Now now, Outcome* out);
  void CheckEnd(Now now, Outcome* out);

  // run_faults.cc
  void LookAgainAtHeld();
  void Book(const Verdicts& verdicts, Now now, Outcome* out);
  void BookFinding(const Finding& finding, Now now, Outcome* out);
  void RespondToCondition(const Incident& incident, Now now, Outcome* out);
  void Decide(Now now, Outcome* out);
  std::string WouldDo(const Incident& incident) const;
  void DecideOn(const Incident& incident, Now now, Outcome* out);
  bool MayAct(const Incident& incident, Now now) const;
  bool MayHavePassed(const Incident& incident, Now now) const;
  void Blame(const Incident& incident, Now now);
  void BookPassedOver(const NodeId& node, Now now, Outcome* out);
  void BookFinalCause(Now now, Outcome* out);
  // Incidents of an earlier life of this service whose cause is seen to be
  // gone: the detectors of this life do not know them.
  void ClearUnconfirmed(IncidentKind kind, const NodeId& node,
                        const std::string& reason, Now now);
  void CheckNodeLife(const NodeEntry& node, Now now, Outcome* out);
  void CheckRanksShown(const NodeEntry& node, Now now, Outcome* out);
  void CheckForeignAttempt(Now now, Outcome* out);
  void CheckDeadlines(Now now, Outcome* out);
  void RepeatLostPage(Now now, Outcome* out);
  void IgnoreMassSilence(Now now, Outcome* out);  // Mutation.
  bool IsSettling(Now now) const;

  // run_controller.cc
  std::int64_t AnsweredByOrder() const;
  Advanced Apply(const Trigger& trigger, Now now, Outcome* out);
  void Execute(const Intent& intent, bool is_ordered, Now now, Outcome* out);
  void OnPhaseChanged(RunPhase before, Now now, Outcome* out);
  void BeginAttempt(Now now);
  void AccountTick(Now now);
  void ConsiderSaving(Now now, Outcome* out);
  void Flush(Now now, Outcome* out);
  void PageOnce(const std::string& text, Outcome* out);
  void NoteDecision(const std::string& action, const std::string& reason,
                    std::int64_t incident, Now now, Outcome* out);
  void NoteAudit(const std::string& action, const std::string& reason, Now now,
                 Outcome* out);
  Step NewestStep() const;
  WatchedAttempt Watched() const;

  // run_commands.cc
  bool MayReconsider() const;
  void SendCommands(Now now, Outcome* out);
  void Send(const NodeEntry& node, const NodeFacts& facts, Now now,
            Outcome* out);

  RunState state_;
  Policy policy_;
  EngineCore core_;
  RecoveryDefects defects_;
  IncidentBook book_;
  RunWatch watch_;
  Ledger ledger_;
  StepJoin join_;

  std::set<NodeId> placed_;    // Nodes of state_.placement.
  std::set<NodeId> verified_;  // Read the checkpoint to resume from.
  std::set<NodeId> saved_;     // Took the present save word.
  // Open incidents whose present cause has been answered.
  std::map<std::int64_t, HandledCause> handled_;
  // Open incidents of an earlier life of this service: no ground to act on
  // before the evidence shows again.
  std::set<std::int64_t> unconfirmed_;
  std::set<NodeId> rebooted_;  // Said once an attempt.
  // Nodes whose agent does not show the ranks it should have, since when.
  std::map<NodeId, MonoTime> ranks_missing_;
  std::vector<Finding> start_failures_;  // To be booked.

  struct Sent {
    SessionId session;
    std::map<std::string, MonoTime> at;  // command_id -> when.
  };
  std::map<NodeId, Sent> sent_;

  // Restored, and a page of its former life may have been lost with it.
  bool may_owe_page_ = false;
  bool is_dirty_ = false;       // RunState must be stored now.
  bool is_soft_dirty_ = false;  // Steps and seconds moved: within a second.
  bool wants_commands_ = false;
  bool wants_save_ = false;
  bool is_tick_ = false;  // Until the next Conclude().
  bool may_be_foreign_ = false;
  MonoTime flushed_;
  std::optional<MonoTime> save_passed_;  // All ranks are past save_step.
  Now paged_phase_;                      // phase_since of the last page.

  GoodputWindow goodput_;
  LossLine loss_line_;
  // Of the newest row, for people.
  Step shown_step_ = kNoStep;
  double loss_ = 0;
  double grad_norm_ = 0;
  double tokens_ = 0;
  std::deque<double> step_seconds_;  // Last kShownSteps.
  std::vector<double> scratch_;
};
inline constexpr std::size_t kShownSteps = 64;

}  // namespace steadyrun
