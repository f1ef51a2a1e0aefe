// What the agents report about one run.

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "base/robust_stats.h"
#include "server/engine/run_controller.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/save_agreement.h"
#include "server/recovery/time_ledger.h"

namespace steadyrun {

// Facts of the current attempt count while it is starting, running or being
// stopped, and after it has finished (its last words may be late). Of any
// other they are stale: the fence.
bool RunController::IsCurrent(AttemptId attempt) const {
  if (core_.mutation == EngineMutation::kAcceptsStaleAttempt) return true;
  return attempt == state_.attempt &&
         (IsLive(state_.phase) || state_.phase == RunPhase::kStopping ||
          state_.phase == RunPhase::kCompleted);
}

void RunController::OnHeartbeat(const NodeEntry& node, Now now, Outcome* out) {
  const bool is_watched =
      watch_.IsWatching(state_.attempt) &&
      (IsLive(state_.phase) || state_.phase == RunPhase::kStopping);
  bool has_advanced = false;
  if (is_watched) {
    watch_.ObserveNode(node.state, now);
    for (const NodeRunState& run : node.state.runs) {
      if (run.run != state_.spec.run) continue;
      for (const RankState& rank : run.ranks) {
        if (rank.attempt == state_.attempt) {
          has_advanced |= join_.NoteRankStep(rank.rank, rank.step);
        }
      }
    }
  }
  CheckNodeLife(node, now, out);
  if (!unconfirmed_.empty()) {
    ClearUnconfirmed(IncidentKind::kAgentLost, node.record.node,
                     node.record.node + " is heard again", now);
    if (!node.state.spool_full) {
      ClearUnconfirmed(IncidentKind::kStorage, node.record.node,
                       node.record.node + " can write its spool", now);
    }
  }
  if (is_watched) {
    if (has_advanced) AdvanceSteps(now, out);
    CheckEnd(now, out);
  }
}

RunController::Taken RunController::OnReport(const NodeEntry& node,
                                             const ReportBody& body,
                                             const HeldReport& held, Now now,
                                             Outcome* out) {
  return std::visit(
      [&](const auto& report) -> Taken {
        using T = std::decay_t<decltype(report)>;
        if constexpr (std::is_same_v<T, StepBlock>) {
          return OnSteps(report, held, now, out);
        } else if constexpr (std::is_same_v<T, RankExited>) {
          return OnExited(node, report, now, out);
        } else if constexpr (std::is_same_v<T, CheckpointShard>) {
          return OnShard(node, report, now, out);
        } else if constexpr (std::is_same_v<T, CheckpointShardBad>) {
          OnShardBad(node, report, now, out);
        } else if constexpr (std::is_same_v<T, CommandResult>) {
          OnResult(node, report, now, out);
        } else if constexpr (std::is_same_v<T, RankFinished>) {
          const Taken taken = OnFinished(report);
          CheckEnd(now, out);
          return taken;
        } else {
          static_assert(std::is_same_v<T, Gap>);
        }
        return Taken::kApplied;
      },
      body);
}

// --- Steps.

RunController::Taken RunController::OnSteps(const StepBlock& block,
                                            const HeldReport& held, Now now,
                                            Outcome* out) {
  if (!IsCurrent(block.attempt)) return Taken::kStale;
  std::vector<ClosedRow> closed;
  const bool is_held = join_.Add(block, held, now, &closed);
  if (!closed.empty()) TakeClosed(std::move(closed), now, out);
  return is_held ? Taken::kHeld : Taken::kApplied;
}

void RunController::TakeClosed(std::vector<ClosedRow> closed, Now now,
                               Outcome* out) {
  for (ClosedRow& done : closed) {
    StepRow& row = done.row;
    Summarize(&row, &scratch_);
    if (row.attempt == state_.attempt) {
      watch_.ObserveRow(row, now);
      loss_line_.Add(row);
      if (row.step >= shown_step_ || row.attempt != state_.attempt) {
        shown_step_ = row.step;
        loss_ = row.loss;
        grad_norm_ = row.grad_norm;
        tokens_ = row.tokens;
      }
      if (row.step_seconds > 0) {
        step_seconds_.push_back(row.step_seconds);
        if (step_seconds_.size() > kShownSteps) step_seconds_.pop_front();
      }
    }
    for (const HeldReport& held : done.held) core_.sessions->Release(held);
    out->changes.push_back(std::move(row));
  }
  if (!closed.empty()) AdvanceSteps(now, out);
}

void RunController::AdvanceSteps(Now now, Outcome* out) {
  if (!IsCurrent(state_.attempt)) return;
  const std::vector<std::int64_t>& steps = join_.RankSteps();
  if (steps.empty()) return;
  std::int64_t reached = *std::min_element(steps.begin(), steps.end());
  if (!state_.spec.log_format.empty()) {
    // Of a followed log only some ranks tell; each step is a collective's.
    reached = *std::max_element(steps.begin(), steps.end());
  }
  NoteStep(Step{reached}, now, out);
}

// A node that cannot be heard does not hold the count back: in synchronous
// training the others' steps are its steps. On ticks, as it walks all nodes.
void RunController::AdvanceStepsWithoutSilent(Now now, Outcome* out) {
  if (state_.phase != RunPhase::kRunning ||
      NewestStep() <= state_.attempt_step) {
    return;
  }
  const std::vector<std::int64_t>& steps = join_.RankSteps();
  std::int64_t reached = NewestStep().value;
  for (const NodeAssignment& assignment : state_.placement) {
    const NodeEntry* node = core_.sessions->FindNode(assignment.node);
    if (node == nullptr || !node->IsConnected()) continue;
    const RankRange ranks = RanksOf(state_.spec, assignment.node_rank);
    for (std::int32_t rank = ranks.first; rank < ranks.last; ++rank) {
      reached = std::min(reached, steps[static_cast<std::size_t>(rank)]);
    }
  }
  NoteStep(Step{reached}, now, out);
}

// A loss that may be about to diverge makes no checkpoint trusted.
Step RunController::HealthyUpTo(Step step) const {
  for (const Incident* open : book_.Open()) {
    if (!IsTrainingKind(open->kind) || open->attempt != state_.attempt ||
        open->severity == Severity::kInfo || open->culprit.rank != kNoRank) {
      continue;
    }
    if (open->onset_step != kNoStep && open->onset_step <= step) {
      step = Step{open->onset_step.value - 1};
    }
  }
  return step;
}

void RunController::NoteStep(Step step, Now now, Outcome* out) {
  if (step <= state_.attempt_step) return;
  Apply(StepCompleted{step}, now, out);
  is_soft_dirty_ = true;
  ledger_.Trust(state_.attempt, state_.resume_attempt, state_.resume_step,
                HealthyUpTo(step), policy_.save.trust_steps);
  if (!unconfirmed_.empty()) {
    for (const IncidentKind kind :
         {IncidentKind::kHang, IncidentKind::kNodeLost,
          IncidentKind::kStartFailed}) {
      ClearUnconfirmed(kind, "", "the run goes on", now);
    }
  }
  if (step > state_.max_step_at_start && IsLive(state_.phase)) {
    book_.Recover(state_.attempt, step, now);
    const Incident* answered = book_.Find(state_.open_incident);
    if (state_.open_incident != 0 &&
        (answered == nullptr || answered->state != IncidentState::kOpen)) {
      state_.open_incident = 0;
      is_dirty_ = true;
    }
  }
  // It has passed by itself: nothing waits for the release.
  const Incident* held = book_.Find(state_.held_incident);
  if (state_.held_incident != 0 &&
      (held == nullptr || held->state != IncidentState::kOpen)) {
    state_.held_incident = 0;
    is_dirty_ = true;
  }
}

// --- Ends.

namespace {

// What the newest state of its node tells: a stream begins with it, so that
// an exit of a time without network is not taken for a new one.
Duration AgeOf(const NodeEntry& node, const RankExited& exit) {
  for (const NodeRunState& run : node.state.runs) {
    if (run.run != exit.run) continue;
    for (const RankState& rank : run.ranks) {
      if (rank.rank == exit.rank && rank.attempt == exit.attempt) {
        return rank.exit_age;
      }
    }
  }
  return {};
}

}  // namespace

RunController::Taken RunController::OnExited(const NodeEntry& node,
                                             const RankExited& exit, Now now,
                                             Outcome* out) {
  if (!exit.killed_by_agent) {
    out->changes.push_back(RankFailed{exit, node.record.node, now.wall});
  }
  if (!IsCurrent(exit.attempt)) return Taken::kStale;
  join_.NoteRankStep(exit.rank, exit.step);
  watch_.ObserveExit(exit, now, AgeOf(node, exit));
  AdvanceSteps(now, out);
  CheckEnd(now, out);
  return Taken::kApplied;
}

RunController::Taken RunController::OnFinished(const RankFinished& finished) {
  if (!IsCurrent(finished.attempt)) return Taken::kStale;
  join_.NoteRankStep(finished.rank, finished.step);
  watch_.ObserveFinished(finished);
  state_.finished[finished.rank.value] = finished.parameters_sha256;
  is_dirty_ = true;
  return Taken::kApplied;
}

void RunController::CheckEnd(Now now, Outcome* out) {
  if (!IsLive(state_.phase) || !watch_.Crash().AllEndedWell()) return;
  // Steps told by now may still wait for their rows to close.
  AdvanceSteps(now, out);
  const std::int64_t last = state_.spec.target_steps - 1;
  const bool is_at_end =
      state_.spec.target_steps > 0 && NewestStep().value >= last;
  // Ranks told to leave after a save end well, too: that is no completion.
  if (state_.save_then_stop && !is_at_end) {
    Apply(PauseSaveEnded{"all ranks have left"}, now, out);
    return;
  }
  Apply(AllFinished{}, now, out);
}

// --- Checkpoints.

RunController::Taken RunController::OnShard(const NodeEntry& node,
                                            const CheckpointShard& shard,
                                            Now now, Outcome* out) {
  if (!IsCurrent(shard.attempt)) return Taken::kStale;
  for (const NodeAssignment& assignment : state_.placement) {
    // Passed over: what it saves after that does not count.
    if (assignment.node == node.record.node &&
        assignment.proof == StopProof::kFenced) {
      return Taken::kStale;
    }
  }
  watch_.ObserveShard(shard, node.record.node, now);
  const Ledger::Added added = ledger_.Add(shard, now);
  if (const std::string why = WhyNotToTrust(shard.step); !why.empty()) {
    ledger_.Distrust(shard.attempt, shard.step, why);
    return Taken::kApplied;
  }
  if (!added.is_now_verified) return Taken::kApplied;
  OnCheckpointVerified(*added.checkpoint, now, out);
  return Taken::kApplied;
}

void RunController::OnCheckpointVerified(const Checkpoint& checkpoint, Now now,
                                         Outcome* out) {
  watch_.ObserveCheckpointComplete(checkpoint.attempt, checkpoint.step,
                                   checkpoint.save_seconds, now);
  for (const IncidentKind kind :
       {IncidentKind::kCheckpointBad, IncidentKind::kCheckpointOverdue}) {
    ClearUnconfirmed(kind, "",
                     fmt::format("the checkpoint of step {} is complete",
                                 checkpoint.step.value),
                     now);
  }
  ChargeCheckpoint(&state_, checkpoint.step, checkpoint.save_seconds);
  is_soft_dirty_ = true;
  out->log.push_back(fmt::format(
      "run={} attempt={} step={} checkpoint verified shards={} "
      "bytes={}",
      state_.spec.run, checkpoint.attempt.value, checkpoint.step.value,
      checkpoint.shards.size(), checkpoint.SizeBytes()));
  if (!state_.save_step.has_value() || checkpoint.step < *state_.save_step) {
    return;
  }
  if (state_.save_then_stop) {
    Apply(
        PauseSaveEnded{fmt::format("step {} is saved", checkpoint.step.value)},
        now, out);
    return;
  }
  ClearSave(&state_);
  save_passed_.reset();
  is_dirty_ = true;
}

// Shards are hashed and reported for a while after the step, so that what was
// given up from some step on may be completed later. Empty: nothing is known
// against the present attempt's checkpoint of `step`.
std::string RunController::WhyNotToTrust(Step step) const {
  for (const Incident* open : book_.Open()) {
    if (open->kind == IncidentKind::kNan && open->attempt == state_.attempt &&
        step >= open->step) {
      return fmt::format("saved at or after the step {} that was not finite",
                         open->step.value);
    }
  }
  if (state_.phase == RunPhase::kStopping && state_.rollback_to.has_value() &&
      step > *state_.rollback_to) {
    return fmt::format("given up by a rollback to step {}",
                       state_.rollback_to->value);
  }
  return {};
}

void RunController::OnShardBad(const NodeEntry& node,
                               const CheckpointShardBad& bad, Now now,
                               Outcome* out) {
  watch_.ObserveShardBad(bad, node.record.node, now);
  if (ledger_.Distrust(bad.attempt, bad.step,
                       fmt::format("rank {} on {}: {}", bad.rank.value,
                                   node.record.node, bad.error))) {
    out->log.push_back(fmt::format(
        "run={} attempt={} step={} checkpoint distrusted: {}", state_.spec.run,
        bad.attempt.value, bad.step.value, bad.error));
  }
}

// --- What became of commands.

void RunController::OnResult(const NodeEntry& node, const CommandResult& result,
                             Now now, Outcome* out) {
  if (result.outcome == CommandOutcome::kStaleEpoch) {
    out->log.push_back(
        fmt::format("run={} node={} refuses command={}: it obeys another "
                    "server (epoch above {})",
                    state_.spec.run, node.record.node, result.command_id,
                    core_.server_epoch));
    return;
  }
  // Ids are derived, so the same wish has the same id: compare by meaning.
  const std::string& id = result.command_id;
  if (id.find("/verify/") != std::string::npos) {
    OnVerifyResult(node, result, now, out);
  } else if (id.find("/start/") != std::string::npos) {
    OnStartResult(node, result, now);
  } else if (id.find("/save/") != std::string::npos) {
    OnSaveResult(node, result, now, out);
  } else if (result.outcome == CommandOutcome::kRefused ||
             result.outcome == CommandOutcome::kFailed) {
    // A floor that cannot be raised: nothing is started before it is, so that
    // somebody has to look.
    PageOnce(fmt::format("run {}: {} cannot carry out {}: {}", state_.spec.run,
                         node.record.node, id, result.message),
             out);
  }
}

void RunController::OnVerifyResult(const NodeEntry& node,
                                   const CommandResult& result, Now now,
                                   Outcome* out) {
  const std::string expected = fmt::format(
      "{}/{}/verify/{}.{}.{}/{}", state_.spec.run, state_.attempt.value,
      state_.resume_step.value, state_.resume_attempt.value, core_.server_epoch,
      node.record.node);
  if (state_.phase != RunPhase::kVerifying || result.command_id != expected) {
    return;
  }
  for (const ShardCheck& check : result.checks) {
    watch_.ObserveCheck(state_.resume_attempt, state_.resume_step, check,
                        node.record.node, now);
  }
  for (const ShardCheck& check : result.checks) {
    if (check.ok) continue;
    Apply(ShardCheckFailed{node.record.node, check.rank, check.error}, now,
          out);
    return;
  }
  switch (result.outcome) {
    case CommandOutcome::kDone:
      verified_.insert(node.record.node);
      return;
    case CommandOutcome::kFailed:
      Apply(ShardCheckFailed{node.record.node, kNoRank, result.message}, now,
            out);
      return;
    case CommandOutcome::kStaleEpoch:
    case CommandOutcome::kStaleAttempt:
    case CommandOutcome::kBootMismatch:
    case CommandOutcome::kBusy:
    case CommandOutcome::kMissed:
    case CommandOutcome::kRefused:
      return;  // Asked again, or placed again when its heartbeat tells why.
  }
}

void RunController::OnStartResult(const NodeEntry& node,
                                  const CommandResult& result, Now now) {
  if (state_.phase != RunPhase::kStarting || result.attempt != state_.attempt) {
    return;
  }
  switch (result.outcome) {
    case CommandOutcome::kFailed:
    case CommandOutcome::kRefused: {
      Finding finding = MakeFinding(IncidentKind::kStartFailed, Watched(), now);
      finding.culprit.node = node.record.node;
      finding.reason = fmt::format(
          "{} could not start its ranks of attempt {}: {}", node.record.node,
          state_.attempt.value,
          result.message.empty() ? CommandOutcomeName(result.outcome)
                                 : std::string_view(result.message));
      finding.evidence = {fmt::format("command {}: {}, {}", result.command_id,
                                      CommandOutcomeName(result.outcome),
                                      result.message)};
      finding.signature =
          fmt::format("start {}", CommandOutcomeName(result.outcome));
      start_failures_.push_back(std::move(finding));
      return;
    }
    case CommandOutcome::kBusy:
      // The older attempt is just leaving: again at the next heartbeat.
      sent_.erase(node.record.node);
      return;
    case CommandOutcome::kDone:
    case CommandOutcome::kStaleEpoch:
    case CommandOutcome::kStaleAttempt:
    case CommandOutcome::kBootMismatch:
    case CommandOutcome::kMissed:
      return;  // Heartbeats tell.
  }
}

void RunController::OnSaveResult(const NodeEntry& node,
                                 const CommandResult& result, Now now,
                                 Outcome* out) {
  const std::string expected =
      fmt::format("{}/{}/save/{}/{}", state_.spec.run, state_.attempt.value,
                  state_.save_seq, node.record.node);
  if (!state_.save_step.has_value() || result.command_id != expected) return;
  switch (result.outcome) {
    case CommandOutcome::kDone:
      saved_.insert(node.record.node);
      return;
    case CommandOutcome::kMissed: {
      const bool was_pausing = state_.save_then_stop;
      const bool is_agreed =
          RetryMissedSave(&state_, policy_.save, NewestStep(),
                          watch_.Hang().MedianStepSeconds());
      saved_.clear();
      save_passed_.reset();
      is_dirty_ = true;
      wants_commands_ = true;
      NoteDecision("save",
                   is_agreed
                       ? fmt::format("{} had passed the step: now {}",
                                     node.record.node, state_.save_step->value)
                       : "given up: the step was missed each time",
                   0, now, out);
      if (!is_agreed && was_pausing) {
        state_.save_then_stop = true;  // The pause stands, without its save.
        Apply(PauseSaveEnded{"no step to save could be agreed on"}, now, out);
      }
      return;
    }
    case CommandOutcome::kFailed:
      out->log.push_back(
          fmt::format("run={} node={} cannot pass on the save: "
                      "{}",
                      state_.spec.run, node.record.node, result.message));
      return;
    case CommandOutcome::kStaleEpoch:
    case CommandOutcome::kStaleAttempt:
    case CommandOutcome::kBootMismatch:
    case CommandOutcome::kBusy:
    case CommandOutcome::kRefused:
      return;
  }
}

}  // namespace steadyrun
