// From findings to decisions about one run.

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/engine/run_controller.h"
#include "server/incident/inhibition.h"
#include "server/policy/allowance.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/stop_proof.h"
#include "server/recovery/training_rollback.h"

namespace steadyrun {
namespace {

// Signature of a node that came back with another boot_id: a fact for ever.
constexpr const char* kRebooted = "rebooted";

// Of an incident whose answer waits for the release of a hold.
constexpr std::string_view kHeldRemediation = "held";

// Of a start that an agent has refused or could not carry out.
constexpr std::string_view kRefusedSignature = "start ";

// Told from what was not heard or did not move: no fact for ever.
bool MayPass(const Incident& incident) {
  switch (incident.kind) {
    case IncidentKind::kHang:
      return true;
    case IncidentKind::kNodeLost:
      return incident.signature != kRebooted;
    case IncidentKind::kStartFailed:
      return !incident.signature.starts_with(kRefusedSignature);
    default:
      return false;
  }
}

}  // namespace

bool RunController::IsSettling(Now now) const {
  return now.mono - core_.sessions->Hearing().SettlingSince() <
         policy_.detect.silence.settle;
}

void RunController::Book(const Verdicts& verdicts, Now now, Outcome* out) {
  for (const Finding& finding : verdicts.findings) {
    BookFinding(finding, now, out);
  }
  for (const Finding& finding : std::exchange(start_failures_, {})) {
    BookFinding(finding, now, out);
  }
  for (const Clearance& clearance : verdicts.cleared) {
    book_.Clear(clearance, now);
  }
}

void RunController::BookFinding(const Finding& finding, Now now, Outcome* out) {
  const Booked booked = book_.Observe(finding, now);
  if (booked.incident == 0) return;
  unconfirmed_.erase(booked.incident);
  if (finding.kind == IncidentKind::kNan) {
    // Whatever is done about the run, and also if nothing is.
    ledger_.DistrustFrom(
        finding.step,
        fmt::format("saved at or after the step {} that was not finite",
                    finding.step.value));
  }
  const Incident* incident = book_.Find(booked.incident);
  if (incident == nullptr || !booked.is_new) return;
  out->log.push_back(fmt::format(
      "run={} attempt={} incident={} kind={} node={} rank={} step={} "
      "reason=\"{}\"",
      state_.spec.run, finding.attempt.value, incident->number,
      IncidentKindName(incident->kind), incident->culprit.node,
      incident->culprit.rank.value, incident->step.value, incident->reason));
  if (!EndsAttempt(*incident)) RespondToCondition(*incident, now, out);
}

// Conditions accompany the run: a page or a save at most.
void RunController::RespondToCondition(const Incident& incident, Now now,
                                       Outcome* out) {
  const KindPolicy& kind = policy_.For(incident.kind);
  const Remedy remedy = FirstRemedy(policy_, incident.kind, incident.advice);
  const std::string name(RemedyName(remedy));
  if (kind.mode == Mode::kAct) {
    if (remedy == Remedy::kSave) wants_save_ = true;
    if (remedy == Remedy::kPage) {
      out->effects.push_back(
          Page{state_.spec.run, incident.number, incident.reason});
    }
    if (remedy != Remedy::kNone) book_.SetRemediation(incident.number, name);
    NoteDecision(name, incident.reason, incident.number, now, out);
    return;
  }
  NoteDecision(std::string(ModeName(kind.mode)),
               fmt::format("would have been: {}", name), incident.number, now,
               out);
  if (kind.mode == Mode::kAdvise && remedy != Remedy::kNone) {
    const std::string advice =
        remedy == Remedy::kPage ? "" : fmt::format(" Advised: {}", name);
    out->effects.push_back(Page{
        state_.spec.run, incident.number,
        fmt::format("run {}: {}{}", state_.spec.run, incident.reason, advice)});
  }
}

// Level-triggered: every open incident of the current attempt whose present
// cause has no answer yet is looked at, until there is one.
void RunController::Decide(Now now, Outcome* out) {
  if (!IsLive(state_.phase) && state_.phase != RunPhase::kStopping) return;
  for (const Incident* open : book_.Open()) {
    if (!EndsAttempt(*open) || open->attempt != state_.attempt) continue;
    if (unconfirmed_.contains(open->number)) continue;
    const HandledCause cause{open->kind, open->culprit, open->step,
                             open->signature};
    auto it = handled_.find(open->number);
    if (it != handled_.end() && it->second == cause) continue;
    if (!MayAct(*open, now)) continue;
    handled_.insert_or_assign(open->number, cause);
    DecideOn(Incident(*open), now, out);
  }
}

// A person has ordered something, the release of a hold perhaps: faults that
// were kept from their answer are decided on once more. What was a judgement
// may have passed since: it counts if its detector finds it again.
void RunController::LookAgainAtHeld() {
  bool is_any_judged = false;
  for (const Incident* open : book_.Open()) {
    if (open->remediation != kHeldRemediation) continue;
    handled_.erase(open->number);
    if (!MayPass(*open)) continue;
    unconfirmed_.insert(open->number);
    is_any_judged = true;
  }
  if (is_any_judged) watch_.JudgeAfresh();
}

// What acting would come to, as exactly as is known.
std::string RunController::WouldDo(const Incident& incident) const {
  const Remedy remedy = FirstRemedy(policy_, incident.kind, incident.advice);
  if (remedy != Remedy::kRollback || incident.rollback.below == kNoStep) {
    return std::string(RemedyName(remedy));
  }
  return DescribePlan(incident.rollback, state_, ledger_.All());
}

void RunController::DecideOn(const Incident& incident, Now now, Outcome* out) {
  const KindPolicy& kind = policy_.For(incident.kind);
  if (kind.mode != Mode::kAct) {
    const std::string would = WouldDo(incident);
    NoteDecision(std::string(ModeName(kind.mode)),
                 fmt::format("would have been: {}", would), incident.number,
                 now, out);
    book_.AddTimeline(incident.number,
                      fmt::format("mode {}: nothing is done; it would have "
                                  "been: {}",
                                  ModeName(kind.mode), would),
                      now);
    if (kind.mode == Mode::kAdvise) {
      out->effects.push_back(
          Page{state_.spec.run, incident.number,
               fmt::format("run {}: {} Advised: {}", state_.spec.run,
                           incident.reason, would)});
    }
    return;
  }
  const bool was_stopping = state_.phase == RunPhase::kStopping;
  const bool is_other = state_.open_incident != incident.number;
  if (was_stopping && is_other && incident.kind != IncidentKind::kNan) {
    // One stop answers both.
    if (state_.after_stop == AfterStop::kRestart) {
      book_.SetRemediation(incident.number, "restart");
    }
    return;
  }
  FailureFound found;
  found.failure = {
      incident.kind, incident.signature,
      IsTrainingKind(incident.kind) ? incident.onset_step : incident.step};
  found.incident = incident.number;
  found.culprit = incident.culprit;
  found.onset = incident.onset;
  found.reason = incident.reason;
  if (incident.advice >= Advice::kRollback &&
      incident.rollback.below != kNoStep) {
    found.plan = incident.rollback;
  }
  found.must_halt = incident.advice == Advice::kHalt;
  const Advanced advanced = Apply(found, now, out);
  for (const Intent& intent : advanced.intents) {
    const auto* decided = std::get_if<Decided>(&intent);
    if (decided == nullptr) continue;
    book_.SetRemediation(incident.number, decided->action);
    if (decided->action == RemedyName(Remedy::kPage)) {
      out->effects.push_back(
          Page{state_.spec.run, incident.number, incident.reason});
    }
  }
}

// A crash, and a step that was not finite, are facts for ever. All else is a
// judgement, and needs a settled view and most of the run's nodes: else it may
// be we who are deaf.
bool RunController::MayAct(const Incident& incident, Now now) const {
  if (core_.mutation == EngineMutation::kIgnoresMassSilence) return true;
  const bool is_fact = incident.kind == IncidentKind::kCrash ||
                       incident.kind == IncidentKind::kNan ||
                       incident.signature.starts_with(kRefusedSignature);
  if (is_fact) return true;
  if (IsSettling(now)) return false;
  if (MayHavePassed(incident, now)) return false;
  const auto nodes = static_cast<double>(state_.placement.size());
  double silent = 0;
  for (const NodeAssignment& assignment : state_.placement) {
    const NodeEntry* node = core_.sessions->FindNode(assignment.node);
    // A stream may stay open for long after the network has gone.
    const bool is_silent =
        node == nullptr || !node->IsConnected() ||
        core_.sessions->Hearing().Silence(assignment.node, now.mono) >=
            policy_.detect.silence.silent_after;
    if (is_silent) ++silent;
  }
  // Of a run on one node nobody else can tell; the silence detector has asked
  // the rest of the cluster.
  if (nodes <= 1) {
    return silent == 0 || incident.kind == IncidentKind::kNodeLost;
  }
  return silent <= policy_.detect.silence.mass_share * nodes;
}

// What was true when it was found may not be true any more: a node that has
// just been heard again may know better, and gets a moment to say so.
bool RunController::MayHavePassed(const Incident& incident, Now now) const {
  if (!MayPass(incident) || incident.kind == IncidentKind::kStartFailed) {
    return false;
  }
  const NodeHearing& hearing = core_.sessions->Hearing();
  return std::any_of(state_.placement.begin(), state_.placement.end(),
                     [&](const NodeAssignment& assignment) {
                       return hearing.IsCatchingUp(assignment.node, now.mono);
                     });
}

void RunController::Blame(const Incident& incident, Now now) {
  NodeEntry* node = core_.sessions->FindNode(incident.culprit.node);
  if (node == nullptr) return;
  NodeRecord& record = node->record;
  ++record.incidents;
  core_.sessions->NoteRecordDue(node);
  // A process that dies speaks against the program as much as against the
  // machine; a machine that is gone speaks against itself.
  if (incident.kind != IncidentKind::kNodeLost) return;
  record.blamed.push_back(now.wall);
  constexpr std::size_t kMaxBlamed = 16;
  if (record.blamed.size() > kMaxBlamed) {
    record.blamed.erase(record.blamed.begin());
  }
  if (!record.is_quarantined &&
      IsToBeQuarantined(policy_.quarantine, record.blamed, now.wall)) {
    record.is_quarantined = true;
    record.quarantine_reason = fmt::format("lost {} times lately, last: {}",
                                           record.blamed.size(), incident.Id());
  }
}

// A node that was passed over while its run was stopped: whatever its peers
// died of, it went silent. Told of the attempt that is being left.
void RunController::BookPassedOver(const NodeId& node, Now now, Outcome* out) {
  const WatchedAttempt& attempt = watch_.Progress().Attempt();
  if (watch_.Silence().IsLost(node)) return;
  const NodeHearing& hearing = core_.sessions->Hearing();
  const Duration silence = hearing.Silence(node, now.mono);
  Finding finding = MakeFinding(
      IncidentKind::kNodeLost, attempt,
      {hearing.LastHeard(node),
       now.wall -
           std::chrono::duration_cast<std::chrono::milliseconds>(silence)});
  finding.culprit.node = node;
  finding.step = NewestStep();
  finding.is_independent = true;
  finding.reason =
      fmt::format("Node {} is lost: silent for {} while attempt {} was stopped",
                  node, HumanSeconds(silence), attempt.attempt.value);
  finding.evidence = {fmt::format(
      "{}: last heard {} ago, connection {}", node, HumanSeconds(silence),
      hearing.IsConnected(node) ? "open" : "closed")};
  finding.signature = std::string(IncidentKindName(finding.kind));
  BookFinding(finding, now, out);
}

// All nodes are proved stopped: no more evidence can come.
void RunController::BookFinalCause(Now now, Outcome* out) {
  for (const Finding& finding : watch_.FinalCrash()) {
    BookFinding(finding, now, out);
  }
  const AttemptId stopped = watch_.Progress().Attempt().attempt;
  for (const Incident* open : book_.Open()) {
    if (!EndsAttempt(*open) || open->attempt != stopped) continue;
    Blame(*open, now);
    // The stop has answered those that became known, or known better, in it.
    handled_[open->number] = {open->kind, open->culprit, open->step,
                              open->signature};
    if (state_.after_stop == AfterStop::kRestart) {
      if (open->kind == IncidentKind::kNodeLost) {
        book_.SetRemediation(open->number, "replace_node");
      } else if (open->remediation == "none") {
        book_.SetRemediation(open->number, "restart");
      }
    }
    if (open->number != state_.open_incident) continue;
    // The record follows, so that equal failures are seen to be equal.
    if (state_.restarts.empty()) continue;
    RestartRecord& record = state_.restarts.back();
    if (record.attempt != open->attempt) continue;
    record.kind = open->kind;
    record.signature = open->signature;
    record.step = open->step;
    is_dirty_ = true;
  }
}

// --- What no detector sees.

void RunController::ClearUnconfirmed(IncidentKind kind, const NodeId& node,
                                     const std::string& reason, Now now) {
  for (const Incident* open : book_.Open()) {
    if (open->kind != kind || !unconfirmed_.contains(open->number)) continue;
    if (!node.empty() && open->culprit.node != node) continue;
    if (EndsAttempt(kind) && open->attempt != state_.attempt) continue;
    Clearance clearance;
    clearance.kind = kind;
    clearance.run = state_.spec.run;
    clearance.culprit = open->culprit;
    clearance.reason = reason;
    book_.Clear(clearance, now);
    return;
  }
}

void RunController::CheckNodeLife(const NodeEntry& node, Now now,
                                  Outcome* out) {
  for (const NodeRunState& run : node.state.runs) {
    if (run.run == state_.spec.run &&
        (run.started > state_.attempt || run.floor > state_.attempt.Next())) {
      may_be_foreign_ = true;
    }
  }
  if (!IsLive(state_.phase) || !placed_.contains(node.record.node)) return;
  for (const NodeAssignment& assignment : state_.placement) {
    if (assignment.node != node.record.node) continue;
    if (assignment.boot_id == node.state.boot_id) {
      CheckRanksShown(node, now, out);
      return;
    }
    if (!rebooted_.insert(assignment.node).second) return;
    Finding finding = MakeFinding(IncidentKind::kNodeLost, Watched(), now);
    finding.culprit.node = assignment.node;
    finding.step = NewestStep();
    finding.is_independent = true;
    finding.reason = fmt::format(
        "{} came back with another life: it was restarted, or its agent lost "
        "its state; its ranks are gone",
        assignment.node);
    finding.evidence = {fmt::format("boot_id was {}, is {}", assignment.boot_id,
                                    node.state.boot_id)};
    finding.signature = kRebooted;
    BookFinding(finding, now, out);
    return;
  }
}

// An agent that has started its ranks and shows fewer of them has lost track,
// or has stopped them for another server. Nothing else would tell: there is
// neither an exit to report nor a rank that stands still.
void RunController::CheckRanksShown(const NodeEntry& node, Now now,
                                    Outcome* out) {
  constexpr Duration kPatience = std::chrono::seconds(5);
  std::int32_t shown = 0;
  bool is_started = state_.phase == RunPhase::kRunning;
  for (const NodeRunState& run : node.state.runs) {
    if (run.run != state_.spec.run) continue;
    is_started |= run.started == state_.attempt;
    for (const RankState& rank : run.ranks) {
      const bool was_killed =
          rank.life == RankLife::kExited && rank.killed_by_agent;
      if (rank.attempt == state_.attempt && !was_killed) ++shown;
    }
  }
  if (!is_started || shown >= state_.spec.ranks_per_node) {
    ranks_missing_.erase(node.record.node);
    return;
  }
  const auto [since, is_new] =
      ranks_missing_.try_emplace(node.record.node, now.mono);
  if (now.mono - since->second < kPatience) return;
  Finding finding = MakeFinding(IncidentKind::kCrash, Watched(), now);
  finding.culprit.node = node.record.node;
  finding.step = NewestStep();
  finding.reason = fmt::format(
      "{} shows {} of the {} ranks it was to run of attempt {}; the others "
      "are gone without a word",
      node.record.node, shown, state_.spec.ranks_per_node,
      state_.attempt.value);
  finding.signature = "ranks not shown";
  BookFinding(finding, now, out);
}

void RunController::CheckForeignAttempt(Now now, Outcome* out) {
  may_be_foreign_ = false;
  // Who runs what, of the newest attempt there is.
  AttemptId newest = state_.attempt;
  std::map<std::int32_t, NodeAssignment> by_node_rank;
  std::int32_t alive = 0;
  for (const auto& [name, node] : core_.sessions->Nodes()) {
    if (!node.IsConnected()) continue;
    for (const NodeRunState& run : node.state.runs) {
      if (run.run != state_.spec.run || run.started <= state_.attempt) continue;
      may_be_foreign_ = true;  // Until it is settled, look again.
      if (run.started > newest) {
        newest = run.started;
        by_node_rank.clear();
        alive = 0;
      }
      if (run.started != newest) continue;
      for (const RankState& rank : run.ranks) {
        if (rank.attempt != newest || rank.life == RankLife::kExited) continue;
        ++alive;
        const std::int32_t node_rank =
            rank.rank.value / std::max(1, state_.spec.ranks_per_node);
        by_node_rank[node_rank] = {name, node_rank, node.state.boot_id,
                                   StopProof::kNone};
      }
    }
  }
  if (newest <= state_.attempt || alive != state_.spec.WorldSize()) return;
  ForeignAttemptFound found;
  found.attempt = newest;
  for (auto& [node_rank, assignment] : by_node_rank) {
    found.placement.push_back(std::move(assignment));
  }
  if (static_cast<std::int32_t>(found.placement.size()) != state_.spec.nodes) {
    return;
  }
  Apply(found, now, out);
}

// A crash between the commit and the page loses the page: effects are not
// stored. What still needs a person is said once more by the next life.
void RunController::RepeatLostPage(Now now, Outcome* out) {
  constexpr Duration kRecent = std::chrono::hours(1);
  if (!std::exchange(may_owe_page_, false)) return;
  if (now.mono - state_.phase_since.mono > kRecent) return;
  const bool is_waiting = state_.phase == RunPhase::kPlacing &&
                          state_.phase_reason.rfind("waits for nodes", 0) == 0;
  const bool is_halting = state_.phase == RunPhase::kHalted ||
                          (state_.phase == RunPhase::kStopping &&
                           state_.after_stop == AfterStop::kHalt);
  if (!is_halting && !is_waiting) return;
  PageOnce(fmt::format("run {} is {}: {}", state_.spec.run,
                       RunPhaseName(state_.phase), state_.phase_reason),
           out);
}

void RunController::CheckDeadlines(Now now, Outcome* out) {
  RepeatLostPage(now, out);
  if (state_.phase == RunPhase::kStarting &&
      now.mono >= state_.phase_deadline) {
    Finding finding =
        MakeFinding(IncidentKind::kStartFailed, Watched(), state_.phase_since);
    finding.reason = fmt::format(
        "Attempt {} made no first step on all ranks within {:.0f} s",
        state_.attempt.value, ToSeconds(now.mono - state_.phase_since.mono));
    finding.signature = "no_first_step";
    BookFinding(finding, now, out);
  }
  if (state_.phase == RunPhase::kStopping &&
      now.mono - state_.phase_since.mono >= policy_.timeouts.stop) {
    RunState probe = state_;
    const ProofSummary proofs =
        UpdateProofs(&probe, core_.cluster->View(now), policy_);
    PageOnce(fmt::format("run {}: attempt {} is not proved stopped on {}; "
                         "nothing is started before it is",
                         state_.spec.run, state_.attempt.value, proofs.missing),
             out);
  }
  if (IsLive(state_.phase) && watch_.Silence().TakeMassPage(now.mono)) {
    out->effects.push_back(
        Page{state_.spec.run, 0,
             fmt::format("run {}: most of its nodes are silent at once; the "
                         "network or this service is suspected, nothing is "
                         "done",
                         state_.spec.run)});
  }
}

// Mutation: takes the silence of any node for its loss.
void RunController::IgnoreMassSilence(Now now, Outcome* out) {
  if (!IsLive(state_.phase)) return;
  for (const NodeAssignment& assignment : state_.placement) {
    const Duration silence =
        core_.sessions->Hearing().Silence(assignment.node, now.mono);
    if (silence < policy_.detect.silence.silent_after) continue;
    Finding finding = MakeFinding(IncidentKind::kNodeLost, Watched(), now);
    finding.culprit.node = assignment.node;
    finding.reason = "mutation";
    BookFinding(finding, now, out);
  }
}

}  // namespace steadyrun
