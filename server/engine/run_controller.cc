#include "server/engine/run_controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "base/robust_stats.h"
#include "server/incident/inhibition.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/save_agreement.h"
#include "server/recovery/time_ledger.h"
#include "server/recovery/training_rollback.h"

namespace steadyrun {
namespace {

// Facts that move with each step are stored this often: a restart of the
// service may show them that much older, never wrong.
constexpr Duration kSoftFlush = std::chrono::seconds(1);
// A save whose step has passed everywhere, and no shard comes: the training
// code does not save on command.
constexpr Duration kSavePatience = std::chrono::seconds(60);

RecoveryDefects DefectsOf(EngineMutation mutation, bool is_restored) {
  RecoveryDefects defects;
  defects.starts_before_all_stopped =
      mutation == EngineMutation::kStartBeforeAllStopped;
  defects.counts_silence_as_proof =
      mutation == EngineMutation::kNoFenceOnLostNode;
  defects.trusts_distrusted = mutation == EngineMutation::kTrustsDistrusted;
  defects.leaves_pause = mutation == EngineMutation::kLeavesPause;
  defects.ignores_hold = mutation == EngineMutation::kIgnoresHold;
  defects.reuses_attempt =
      mutation == EngineMutation::kForgetsFloorOnReload && is_restored;
  return defects;
}

// The actions of policy that belong into the audit trail.
bool IsAudited(const std::string& action) {
  return action == "restart" || action == "rollback" ||
         action == "replace_node" || action == "halt" || action == "save" ||
         action == "take_over";
}

}  // namespace

RunController::RunController(RunState state, Policy policy, EngineCore core,
                             bool is_restored, Now now)
    : state_(std::move(state)),
      policy_(std::move(policy)),
      core_(core),
      defects_(DefectsOf(core.mutation, is_restored)),
      book_(state_.spec.run, state_.incidents),
      watch_(policy_.detect),
      flushed_(now.mono) {
  is_dirty_ = !is_restored;
  may_owe_page_ = is_restored;
  for (const NodeAssignment& assignment : state_.placement) {
    placed_.insert(assignment.node);
  }
  if (IsLive(state_.phase) || state_.phase == RunPhase::kStopping ||
      state_.phase == RunPhase::kCompleted) {
    BeginAttempt(now);
  }
  watch_.Settle(now.mono);
  goodput_.Begin(state_);
}

void RunController::RestoreIncident(const Incident& incident, Now now) {
  book_.Restore(incident, now);
  if (IsTrainingKind(incident.kind) && !EndsAttempt(incident)) {
    // The trends it was judged by are gone with the service's former life.
    book_.LeaveTraining(incident.attempt.Next(), now);
    return;
  }
  // A step that was not finite stays so; all else may have passed.
  if (incident.kind != IncidentKind::kNan) {
    unconfirmed_.insert(incident.number);
  }
  if (state_.phase == RunPhase::kStopping &&
      incident.attempt == state_.attempt) {
    // The stop is its answer.
    handled_[incident.number] = {incident.kind, incident.culprit, incident.step,
                                 incident.signature};
  }
}

void RunController::RestoreCheckpoint(const Checkpoint& checkpoint) {
  if (checkpoint.attempt >= state_.first_attempt) ledger_.Restore(checkpoint);
}

bool RunController::Holds(const NodeId& node) const {
  switch (state_.phase) {
    case RunPhase::kPlacing:
    case RunPhase::kVerifying:
    case RunPhase::kStarting:
    case RunPhase::kRunning:
    case RunPhase::kStopping:
      return placed_.contains(node);
    case RunPhase::kPaused:
    case RunPhase::kHalted:
    case RunPhase::kCompleted:
    case RunPhase::kStopped:
      return false;
  }
  return false;
}

bool RunController::IsAtRest(Now now) const {
  constexpr Duration kLastWords = std::chrono::seconds(60);
  return IsEnded(state_.phase) && join_.OpenRows() == 0 && !is_dirty_ &&
         !is_soft_dirty_ && now.mono - state_.phase_since.mono > kLastWords;
}

bool RunController::Concerns(const NodeEntry& node) const {
  if (placed_.contains(node.record.node)) return true;
  return std::any_of(
      node.state.runs.begin(), node.state.runs.end(),
      [this](const NodeRunState& run) { return run.run == state_.spec.run; });
}

WatchedAttempt RunController::Watched() const {
  WatchedAttempt watched;
  watched.run = state_.spec.run;
  watched.attempt = state_.attempt;
  // Of a followed log most ranks tell no step, and the last one need not be
  // printed: the ranks' own ends count.
  watched.target_steps =
      state_.spec.log_format.empty() ? state_.spec.target_steps : 0;
  watched.rank_nodes.resize(static_cast<std::size_t>(state_.spec.WorldSize()));
  for (const NodeAssignment& assignment : state_.placement) {
    const RankRange ranks = RanksOf(state_.spec, assignment.node_rank);
    for (std::int32_t rank = ranks.first; rank < ranks.last; ++rank) {
      watched.rank_nodes[static_cast<std::size_t>(rank)] = assignment.node;
    }
  }
  return watched;
}

void RunController::BeginAttempt(Now now) {
  book_.LeaveTraining(state_.attempt, now);
  const bool is_first = watch_.Progress().Attempt().run.empty();
  watch_.Begin(Watched(), now);
  if (is_first) {
    watch_.Remember(HistoryOf(state_, policy_.detect.curve.rollback));
  }
  join_.Begin(state_.spec.run, state_.attempt, state_.spec.WorldSize());
  rebooted_.clear();
  ranks_missing_.clear();
  save_passed_.reset();
}

void RunController::OnTick(Now now, Outcome* out) {
  is_tick_ = true;
  std::vector<ClosedRow> closed;
  join_.CloseExpired(now, &closed);
  TakeClosed(std::move(closed), now, out);
  AdvanceStepsWithoutSilent(now, out);
  RunSituation situation;
  situation.is_live = IsLive(state_.phase);
  situation.is_stopping = state_.phase == RunPhase::kStopping;
  situation.is_running = state_.phase == RunPhase::kRunning;
  situation.step = NewestStep();
  Book(watch_.Evaluate(core_.sessions->Hearing(), situation, now), now, out);
  if (core_.mutation == EngineMutation::kIgnoresMassSilence) {
    IgnoreMassSilence(now, out);
  }
  CheckDeadlines(now, out);
  ConsiderSaving(now, out);
  if (may_be_foreign_) CheckForeignAttempt(now, out);
  AccountTick(now);
  goodput_.Observe(state_);
}

// Time passes in phases without steps, too, and while a fault of a held run
// waits that makes none; in kPlacing the machine tells waiting from back-off.
void RunController::AccountTick(Now now) {
  if (state_.phase == RunPhase::kRunning) {
    const Duration quiet = now.mono - watch_.Progress().LastAdvance();
    if (state_.held_incident != 0 &&
        quiet >= watch_.Hang().DeadlineNow(watch_.Progress())) {
      Account(&state_, TimeCause::kHeld, now.wall);
    }
  } else if (state_.phase != RunPhase::kPlacing && !IsEnded(state_.phase)) {
    Account(&state_, CauseOfPhase(state_), now.wall);
  }
}

void RunController::OnLateTick(Now now) { watch_.Settle(now.mono); }

Advanced RunController::OnOrder(OperatorOrdered order, Now now, Outcome* out) {
  order.newest_step = NewestStep();
  order.step_seconds = watch_.Hang().MedianStepSeconds();
  const std::uint64_t save_seq = state_.save_seq;
  const std::int64_t incident = state_.open_incident;
  const bool moves_the_run =
      order.order != Order::kHold && order.order != Order::kUnhold;
  if (moves_the_run) state_.open_incident = AnsweredByOrder();
  Advanced advanced = Apply(order, now, out);
  if (advanced.status.ok()) {
    LookAgainAtHeld();
  } else {
    state_.open_incident = incident;
  }
  if (state_.save_seq != save_seq) {
    saved_.clear();
    save_passed_.reset();
  }
  return advanced;
}

// What an order answers, for the record; an older incident has its own.
std::int64_t RunController::AnsweredByOrder() const {
  for (const Incident* open : book_.Open()) {
    if (EndsAttempt(*open) && open->attempt == state_.attempt) {
      return open->number;
    }
  }
  return 0;
}

absl::StatusOr<Step> RunController::OnCheckpointOrdered(
    const std::string& request_id, const std::string& why, Now now,
    Outcome* out) {
  if (state_.phase != RunPhase::kRunning) {
    return absl::FailedPreconditionError(
        fmt::format("run {} is {}: only a running one can save",
                    state_.spec.run, RunPhaseName(state_.phase)));
  }
  if (state_.save_step.has_value()) return *state_.save_step;
  const Step step =
      OrderSave(&state_, policy_.save, NewestStep(),
                watch_.Hang().MedianStepSeconds(), false, request_id);
  saved_.clear();
  save_passed_.reset();
  is_dirty_ = true;
  wants_commands_ = true;
  const std::string reason = fmt::format("at step {}: {}", step.value, why);
  NoteDecision("save", reason, 0, now, out);
  if (request_id.empty()) NoteAudit("save", reason, now, out);
  return step;
}

// The service's own saves: by interval, or to replace one that went bad.
void RunController::ConsiderSaving(Now now, Outcome* out) {
  if (state_.phase != RunPhase::kRunning) return;
  if (state_.save_step.has_value()) {
    if (state_.save_then_stop || state_.attempt_step < *state_.save_step) {
      return;
    }
    if (!save_passed_.has_value()) save_passed_ = now.mono;
    if (now.mono - *save_passed_ < kSavePatience) return;
    out->log.push_back(fmt::format(
        "run={} attempt={} step={} save given up: no shards came",
        state_.spec.run, state_.attempt.value, state_.save_step->value));
    ClearSave(&state_);
    save_passed_.reset();
    is_dirty_ = true;
    return;
  }
  if (state_.attempt_step == kNoStep) return;
  const bool is_due = watch_.Checkpoints().IsSaveDue(NewestStep(), now.mono);
  if (!is_due && !wants_save_) return;
  const std::string why = wants_save_ ? "to replace a checkpoint that went bad"
                                      : "the interval of the policy has passed";
  wants_save_ = false;
  OnCheckpointOrdered("", why, now, out).IgnoreError();
}

Step RunController::NewestStep() const {
  return std::max(
      {join_.NewestStep(), watch_.Progress().MaxStep(), state_.attempt_step});
}

Advanced RunController::Apply(const Trigger& trigger, Now now, Outcome* out) {
  // Steps are the hot path, and need no picture of the cluster.
  const ClusterView cluster = std::holds_alternative<StepCompleted>(trigger)
                                  ? ClusterView{}
                                  : core_.cluster->View(now);
  const RecoveryContext context{policy_, cluster, ledger_.All(), verified_,
                                defects_};
  const RunPhase before = state_.phase;
  const AttemptId attempt = state_.attempt;
  Advanced advanced = Advance(&state_, trigger, context, now);
  if (advanced.has_changed) {
    is_dirty_ = true;
    wants_commands_ = true;
  }
  if (!advanced.reason.empty() && advanced.status.ok()) {
    out->log.push_back(fmt::format(
        "run={} attempt={} phase={} reason=\"{}\"", state_.spec.run,
        state_.attempt.value, RunPhaseName(state_.phase), advanced.reason));
  }
  const bool is_ordered = std::holds_alternative<OperatorOrdered>(trigger);
  for (const Intent& intent : advanced.intents) {
    Execute(intent, is_ordered, now, out);
  }
  if (state_.phase != before || state_.attempt != attempt) {
    OnPhaseChanged(before, now, out);
  }
  return advanced;
}

void RunController::Execute(const Intent& intent, bool is_ordered, Now now,
                            Outcome* out) {
  std::visit(
      [&](const auto& i) {
        using T = std::decay_t<decltype(i)>;
        if constexpr (std::is_same_v<T, DistrustCheckpoint>) {
          ledger_.Distrust(i.attempt, i.step, i.reason);
        } else if constexpr (std::is_same_v<T, DistrustFrom>) {
          ledger_.DistrustFrom(i.step, i.reason);
        } else if constexpr (std::is_same_v<T, PageOperator>) {
          out->effects.push_back(Page{
              state_.spec.run,
              i.incident != 0 ? i.incident : state_.open_incident, i.text});
        } else if constexpr (std::is_same_v<T, Decided>) {
          NoteDecision(i.action, i.reason,
                       i.incident != 0 ? i.incident : state_.open_incident, now,
                       out);
          // An operator's own orders are entered where they are taken.
          if (!is_ordered) NoteAudit(i.action, i.reason, now, out);
          book_.AddTimelineToRecovering(i.action + ": " + i.reason, now);
        } else if constexpr (std::is_same_v<T, StepsLost>) {
          book_.AddStepsLost(state_.open_incident, i.steps);
        } else {
          static_assert(std::is_same_v<T, NodePassedOver>);
          BookPassedOver(i.node, now, out);
        }
      },
      intent);
}

void RunController::NoteDecision(const std::string& action,
                                 const std::string& reason,
                                 std::int64_t incident, Now now, Outcome* out) {
  Decision decision;
  decision.run = state_.spec.run;
  decision.attempt = state_.attempt;
  decision.incident = incident;
  decision.at = now.wall;
  decision.action = action;
  decision.reason = reason;
  out->changes.push_back(std::move(decision));
}

void RunController::NoteAudit(const std::string& action,
                              const std::string& reason, Now now,
                              Outcome* out) {
  if (!IsAudited(action)) return;
  AuditEntry entry;
  entry.at = now.wall;
  entry.actor = "policy";
  entry.action = action;
  entry.run = state_.spec.run;
  entry.reason = reason;
  entry.outcome = "accepted";
  out->changes.push_back(std::move(entry));
}

void RunController::OnPhaseChanged(RunPhase before, Now now, Outcome* out) {
  placed_.clear();
  for (const NodeAssignment& assignment : state_.placement) {
    placed_.insert(assignment.node);
  }
  verified_.clear();
  saved_.clear();
  sent_.clear();
  wants_commands_ = true;
  if (before == RunPhase::kStopping) {
    BookFinalCause(now, out);
    std::vector<ClosedRow> closed;
    join_.CloseAll(now, &closed);
    TakeClosed(std::move(closed), now, out);
  }
  if (IsLive(state_.phase) && !watch_.IsWatching(state_.attempt)) {
    std::vector<ClosedRow> closed;
    join_.CloseAll(now, &closed);
    TakeClosed(std::move(closed), now, out);
    BeginAttempt(now);
  }
  switch (state_.phase) {
    case RunPhase::kPaused:
    case RunPhase::kHalted:
      book_.CloseAll(state_.phase_reason, /*include_conditions=*/false, now);
      break;
    case RunPhase::kCompleted:
      book_.Recover(state_.attempt.Next(), state_.attempt_step, now);
      book_.CloseAll("the run is completed", true, now);
      break;
    case RunPhase::kStopped:
      book_.CloseAll(state_.phase_reason, true, now);
      break;
    case RunPhase::kPlacing:
    case RunPhase::kVerifying:
    case RunPhase::kStarting:
    case RunPhase::kRunning:
    case RunPhase::kStopping:
      break;
  }
}

// A picture of the cluster costs as much as it has nodes, and while a run is
// being stopped each of them sends heartbeats: of many, only ticks look.
bool RunController::MayReconsider() const {
  constexpr std::size_t kFewNodes = 128;
  return is_tick_ || state_.placement.size() <= kFewNodes;
}

void RunController::Conclude(Now now, Outcome* out) {
  Book(watch_.Take(), now, out);
  // Bounded: one fault, one stop, one placing, one start is the longest way.
  for (int i = 0; i < 4; ++i) {
    const RunPhase before = state_.phase;
    if (before == RunPhase::kStopping && join_.OpenRows() > 0) {
      // What the last steps say about the cause is wanted before the next
      // checkpoint is chosen; nobody waits for ranks that are being killed.
      std::vector<ClosedRow> closed;
      join_.CloseAll(now, &closed);
      TakeClosed(std::move(closed), now, out);
      Book(watch_.Take(), now, out);
    }
    Decide(now, out);
    const bool is_moving =
        state_.phase == RunPhase::kPlacing ||
        state_.phase == RunPhase::kVerifying ||
        state_.phase == RunPhase::kStopping ||
        (state_.phase == RunPhase::kRunning && state_.save_then_stop) ||
        defects_.leaves_pause;
    if (is_moving && MayReconsider()) Apply(Reconsider{}, now, out);
    if (state_.phase == before) break;
  }
  is_tick_ = false;
  if (wants_commands_) SendCommands(now, out);
  Flush(now, out);
}

void RunController::Flush(Now now, Outcome* out) {
  for (Incident& incident : book_.TakeChanged()) {
    if (incident.state != IncidentState::kOpen) {
      handled_.erase(incident.number);
      unconfirmed_.erase(incident.number);
    }
    out->changes.push_back(std::move(incident));
  }
  for (Checkpoint& checkpoint : ledger_.TakeChanged()) {
    out->changes.push_back(std::move(checkpoint));
  }
  if (state_.incidents != book_.LastNumber()) {
    state_.incidents = book_.LastNumber();
    is_dirty_ = true;
  }
  const bool is_due = is_soft_dirty_ && now.mono - flushed_ >= kSoftFlush;
  if (!is_dirty_ && !is_due) return;
  if (core_.mutation == EngineMutation::kCommandBeforeIntent &&
      now.mono - flushed_ < kSoftFlush) {  // Mutation.
    is_soft_dirty_ = true;
    is_dirty_ = false;
    return;
  }
  is_dirty_ = false;
  is_soft_dirty_ = false;
  flushed_ = now.mono;
  RunState stored = state_;
  if (core_.mutation == EngineMutation::kBudgetNotDurable) {  // Mutation.
    stored.restarts.clear();
    stored.restarts_without_progress = 0;
  }
  out->changes.push_back(std::move(stored));
}

void RunController::PageOnce(const std::string& text, Outcome* out) {
  if (paged_phase_ == state_.phase_since) return;
  paged_phase_ = state_.phase_since;
  out->effects.push_back(Page{state_.spec.run, state_.open_incident, text});
}

}  // namespace steadyrun
