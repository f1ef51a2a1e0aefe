// Invariants of what the engine decides, at the moment it decides.

#include <algorithm>
#include <functional>

#include "server/recovery/phase_change.h"
#include "tests/simulation/invariants.h"

namespace steadyrun::sim {

using std::chrono::seconds;

namespace {

// A run that has stood still for this long, for a cause, is a witness of a
// silent node's loss (detect.node.witness_minimum), whichever the cause was.
constexpr Duration kLeastStall = seconds(1);
// How long ago the evidence may have been true: what a slow message, a held
// commit and the pace of polls add up to.
constexpr Duration kEvidenceAge = seconds(4);
// From which silence on a node counts as silent.
constexpr Duration kSilent = seconds(3);
constexpr Duration kSettle = seconds(3);
constexpr Duration kLateTick = seconds(2);

bool IsLivePhase(RunPhase phase) {
  return phase == RunPhase::kStarting || phase == RunPhase::kRunning;
}

bool IsHeldPhase(RunPhase phase) {
  return phase == RunPhase::kPaused || phase == RunPhase::kHalted;
}

// Some edges happen within one step of the engine and only the last phase is
// stored: a path of legal edges through phases that wait for nothing.
bool IsLegalPath(RunPhase from, RunPhase to, int edges) {
  if (from == to || IsLegalEdge(from, to)) return true;
  if (edges == 1) return false;
  for (const RunPhase middle : {RunPhase::kStopping, RunPhase::kPlacing,
                                RunPhase::kVerifying, RunPhase::kStarting}) {
    if (IsLegalEdge(from, middle) && IsLegalPath(middle, to, edges - 1)) {
      return true;
    }
  }
  return false;
}

}  // namespace

void Invariants::Violate(std::string rule, std::string what) {
  if (violation_) return;
  context_.trace.Line(context_.now(), "INVARIANT", "{}: {}", rule, what);
  violation_ = Violation{std::move(rule), std::move(what), context_.now()};
}

void Invariants::OnServerStarted(std::uint64_t epoch) {
  (void)epoch;
  server_started_ = last_tick_ = context_.now();
  late_tick_ = Duration::min() / 2;
  seen_runs_.clear();
  seen_checkpoints_ = store_->checkpoints();
  seen_incidents_ = store_->incidents();
  exits_committed_.clear();
  durable_runs_.clear();
  pending_restarts_.clear();
  sessions_.clear();
  session_boots_.clear();
  live_session_.clear();
  heard_.clear();
}

void Invariants::OnEngineStep(const Event& event, const Outcome& outcome) {
  ObserveEvent(event, outcome);
  ObserveChanges(outcome);
  for (const Change& change : outcome.changes) {
    const auto* after = std::get_if<RunState>(&change);
    if (after == nullptr) continue;
    const RunId& name = after->spec.run;
    auto it = seen_runs_.find(name);
    if (it == seen_runs_.end()) {
      const RunState* stored = store_->FindRun(name);
      it = seen_runs_.emplace(name, stored != nullptr ? *stored : *after).first;
    }
    const RunState before = it->second;
    it->second = *after;
    CheckRunChange(event, outcome, before, *after);
  }
}

void Invariants::ObserveEvent(const Event& event, const Outcome& outcome) {
  std::optional<SessionId> speaker;
  if (const auto* connected = std::get_if<AgentConnected>(&event)) {
    const int node = IndexOf(connected->hello.state.node);
    sessions_[connected->session] = node;
    session_boots_[connected->session] = connected->hello.state.boot_id;
    live_session_[node] = connected->session;
    heard_[node] = context_.now();
  } else if (const auto* gone = std::get_if<AgentDisconnected>(&event)) {
    std::erase_if(live_session_, [&](const auto& item) {
      return item.second == gone->session;
    });
  } else if (const auto* beat = std::get_if<AgentHeartbeat>(&event)) {
    speaker = beat->session;
    TraceHeartbeat(beat->state);
  } else if (const auto* reports = std::get_if<AgentReports>(&event)) {
    speaker = reports->session;
    context_.trace.Line(
        context_.now(), "server", "takes reports {} to {} of session {}",
        reports->reports.front().seq.value, reports->reports.back().seq.value,
        reports->session.value);
  } else if (std::holds_alternative<Ticked>(event)) {
    if (context_.now() - last_tick_ > kLateTick) late_tick_ = context_.now();
    last_tick_ = context_.now();
  }
  if (!speaker) return;
  const auto node = sessions_.find(*speaker);
  const bool is_live = node != sessions_.end() &&
                       live_session_.contains(node->second) &&
                       live_session_[node->second] == *speaker;
  if (is_live) {
    heard_[node->second] = context_.now();
  } else if (!outcome.changes.empty() || !outcome.effects.empty()) {
    Violate("S19", fmt::format("session {} has ended, and still has effect",
                               speaker->value));
  }
}

void Invariants::TraceHeartbeat(const NodeState& state) {
  if (!context_.trace.keeps_lines()) return;
  for (const NodeRunState& run : state.runs) {
    if (run.ranks.empty()) continue;
    const RankState& rank = run.ranks.back();
    context_.trace.Line(
        context_.now(), "server",
        "hears {}: {} floor {} started {}, rank {} of {} {} at step {}, {} "
        "for {:.2f} s",
        state.node, run.run, run.floor.value, run.started.value,
        rank.rank.value, rank.attempt.value,
        rank.life == RankLife::kExited ? "gone" : "alive", rank.step.value,
        PhaseName(rank.phase), ToSeconds(rank.progress_age));
  }
}

const RunState* Invariants::SeenRun(const RunId& name) const {
  const auto it = seen_runs_.find(name);
  return it == seen_runs_.end() ? store_->FindRun(name) : &it->second;
}

void Invariants::ObserveChanges(const Outcome& outcome) {
  for (const Change& change : outcome.changes) {
    if (const auto* checkpoint = std::get_if<Checkpoint>(&change)) {
      seen_checkpoints_[{checkpoint->run, checkpoint->attempt,
                         checkpoint->step}] = *checkpoint;
    } else if (const auto* incident = std::get_if<Incident>(&change)) {
      seen_incidents_[{incident->run, incident->number}] = *incident;
      // The pace of a simulated training does change (chaos.cc), and a slowdown
      // is told; what may not be is to act on it, see CheckAutomaticStop.
      if (bounds_.expects_no_restart &&
          incident->kind != IncidentKind::kSlowdown) {
        Violate("S6",
                fmt::format("incident {} ({}) in a history without "
                            "faults: {}",
                            incident->Id(), IncidentKindName(incident->kind),
                            incident->reason));
      }
    } else if (const auto* row = std::get_if<StepRow>(&change)) {
      const RunState* run = SeenRun(row->run);
      if (run != nullptr && row->attempt < run->attempt) {
        Violate("S2", fmt::format("a row of step {} of attempt {} counts while "
                                  "run {} is at attempt {}",
                                  row->step.value, row->attempt.value, row->run,
                                  run->attempt.value));
      }
    } else if (const auto* decision = std::get_if<Decision>(&change)) {
      if (decision->action != "fence") continue;
      const RunState* run = SeenRun(decision->run);
      if (run == nullptr) continue;
      Fence(*run, decision->reason.substr(0, decision->reason.find(':')));
    }
  }
}

void Invariants::CheckRunChange(const Event& event, const Outcome& outcome,
                                const RunState& before, const RunState& after) {
  // What follows from the release of a hold is the machine's own doing.
  const auto* action = std::get_if<ActionRequested>(&event);
  const bool is_ordered =
      (action != nullptr && action->action != OperatorAction::kUnhold) ||
      std::holds_alternative<LaunchRequested>(event);
  if (!IsLegalPath(before.phase, after.phase, 4)) {
    Violate("S17",
            fmt::format("{} -> {} is no edge", RunPhaseName(before.phase),
                        RunPhaseName(after.phase)));
  }
  if (after.attempt < before.attempt) {
    Violate("S9", fmt::format("attempt {} after {}", after.attempt.value,
                              before.attempt.value));
  }
  const bool leaves_hold =
      IsHeldPhase(before.phase) && !IsHeldPhase(after.phase);
  if ((leaves_hold || (IsEnded(before.phase) && !IsEnded(after.phase))) &&
      !is_ordered) {
    Violate("S20",
            fmt::format("{} -> {} without an order", RunPhaseName(before.phase),
                        RunPhaseName(after.phase)));
  }
  const bool was_to_hold = before.phase == RunPhase::kStopping &&
                           before.after_stop != AfterStop::kRestart;
  const bool restarts = after.after_stop == AfterStop::kRestart &&
                        !IsHeldPhase(after.phase) && !IsEnded(after.phase);
  if (was_to_hold && restarts && !is_ordered) {
    Violate("S20", "a stop meant to hold the run became a restart");
  }
  if (before.phase == RunPhase::kStopping &&
      before.placement.size() == after.placement.size()) {
    // The proofs it leaves with are what allows the next start.
    for (const NodeAssignment& assignment : after.placement) {
      CheckProof(before, assignment);
    }
  }
  if (IsLivePhase(before.phase) && after.phase == RunPhase::kStopping &&
      !is_ordered && !before.save_then_stop) {
    CheckAutomaticStop(before, after, outcome);
  }
  if (before.phase != RunPhase::kStarting &&
      after.phase == RunPhase::kStarting) {
    CheckStart(before, after);
  }
}

int Invariants::SilentNodes(const RunState& state, Duration at_least) const {
  int silent = 0;
  for (const NodeAssignment& assignment : state.placement) {
    const auto heard = heard_.find(IndexOf(assignment.node));
    const Duration since = heard == heard_.end()
                               ? context_.now() - server_started_
                               : context_.now() - heard->second;
    if (since >= at_least) ++silent;
  }
  return silent;
}

bool Invariants::HasSilentNode(const RunState& state, Duration at_least) const {
  return SilentNodes(state, at_least) > 0;
}

// Empty if it truly could not go on.
std::string Invariants::WhyItCouldGoOn(const RunState& before) const {
  const AttemptTruth* truth =
      cluster_->TruthOf(before.spec.run, before.attempt);
  // An attempt that never came up whole has no training to lose.
  if (truth == nullptr || truth->spawned < before.spec.WorldSize()) return "";
  // Nor has one before its first step: policy waits less for a silent node,
  // and a node that said it could not start its ranks is believed.
  if ((truth->step == before.resume_step ||
       before.phase == RunPhase::kStarting) &&
      (HasSilentNode(before, seconds(20)) ||
       start_failures_.contains({before.spec.run, before.attempt}))) {
    return "";
  }
  if (truth->damaged) return "";
  if (truth->stalled && context_.now() - *truth->stalled >= kLeastStall) {
    return "";
  }
  if (truth->stall_ended && truth->last_stall >= kLeastStall &&
      context_.now() - *truth->stall_ended <= kEvidenceAge) {
    return "";
  }
  return fmt::format("all ranks of attempt {} are alive and at step {}",
                     before.attempt.value, truth->step.value);
}

void Invariants::CheckAutomaticStop(const RunState& before,
                                    const RunState& after,
                                    const Outcome& outcome) {
  if (after.after_stop == AfterStop::kEnd) return;
  const std::string could_go_on = WhyItCouldGoOn(before);
  if (!could_go_on.empty()) {
    // A run without a second witness is given up after a minute of silence.
    const bool has_witness = std::ranges::any_of(cluster_->Live(), [&](int id) {
      const Process& process = cluster_->At(id);
      return process.run == before.spec.run &&
             process.attempt == before.attempt &&
             context_.now() - heard_[process.node] < seconds(59);
    });
    const bool is_alone = !has_witness && HasSilentNode(before, seconds(59));
    if (!is_alone) {
      Violate("S6", fmt::format("run {}: {}; yet: {}", before.spec.run,
                                could_go_on, after.phase_reason));
    }
  }
  if (after.after_stop != AfterStop::kRestart) return;
  ++automatic_restarts_;
  if (bounds_.expects_no_restart) {
    Violate("S6",
            "a restart in a history without faults: " + after.phase_reason);
  }
  const bool is_recorded = !after.restarts.empty() &&
                           after.restarts.back().attempt == before.attempt;
  if (!is_recorded) {
    Violate("S11", "an automatic restart that its state does not record");
    return;
  }
  pending_restarts_.insert({before.spec.run, before.attempt});
  const bool has_decision =
      std::ranges::any_of(outcome.changes, [&](const Change& change) {
        const auto* decision = std::get_if<Decision>(&change);
        return decision != nullptr && decision->run == before.spec.run &&
               !decision->reason.empty();
      });
  if (!has_decision) {
    Violate("S14", "an automatic restart without a decision and its reason");
  }
  const IncidentKind kind = after.restarts.back().kind;
  // A new boot_id is a fact for ever, whoever else is silent.
  if (after.restarts.back().signature == "rebooted") return;
  if (kind == IncidentKind::kNodeLost || kind == IncidentKind::kHang) {
    const auto nodes = static_cast<int>(before.placement.size());
    const int silent = SilentNodes(before, kSilent);
    if (nodes > 1 && 2 * silent > nodes) {
      Violate("S12", fmt::format("{} while {} of {} nodes are silent",
                                 IncidentKindName(kind), silent, nodes));
    }
  }
  if (kind == IncidentKind::kNodeLost) {
    if (context_.now() - server_started_ < kSettle ||
        context_.now() - late_tick_ < kSettle) {
      Violate("S12", "node_lost while the service settles");
    }
  }
}

void Invariants::CheckStart(const RunState& before, const RunState& after) {
  (void)before;
  if (after.resume_step == kNoStep) return;
  const auto it = seen_checkpoints_.find(
      {after.spec.run, after.resume_attempt, after.resume_step});
  if (it == seen_checkpoints_.end()) {
    Violate("S13",
            fmt::format("resumes from step {} of attempt {}, which no "
                        "ledger entry names",
                        after.resume_step.value, after.resume_attempt.value));
    return;
  }
  const Checkpoint& checkpoint = it->second;
  if (checkpoint.state != CheckpointState::kVerified &&
      checkpoint.state != CheckpointState::kTrusted) {
    Violate("S13", fmt::format("resumes from step {}, which is {} ({})",
                               checkpoint.step.value,
                               CheckpointStateName(checkpoint.state),
                               checkpoint.reason));
  }
  for (const auto& [key, incident] : seen_incidents_) {
    if (incident.run == after.spec.run && incident.kind == IncidentKind::kNan &&
        incident.attempt == checkpoint.attempt &&
        incident.step <= checkpoint.step) {
      Violate("S13",
              fmt::format("resumes from step {} of attempt {}, which met NaN "
                          "at step {}",
                          checkpoint.step.value, checkpoint.attempt.value,
                          incident.step.value));
    }
  }
}

}  // namespace steadyrun::sim
