// Invariants of what is committed, and of what leaves the service after it.

#include <algorithm>

#include "base/check.h"
#include "proto/messages/messages.h"
#include "tests/simulation/invariants.h"

namespace steadyrun::sim {

using std::chrono::seconds;

namespace {

// A node gets a handful of commands per second while one is open, not a flood.
constexpr std::size_t kMaxCommandsPerSecond = 60;
constexpr std::size_t kMaxRestartRecords = 256;

bool IsLivePhase(RunPhase phase) {
  return phase == RunPhase::kStarting || phase == RunPhase::kRunning;
}

const NodeAssignment* FindAssignment(const RunState& state,
                                     const NodeId& node) {
  for (const NodeAssignment& assignment : state.placement) {
    if (assignment.node == node) return &assignment;
  }
  return nullptr;
}

}  // namespace

int Invariants::IndexOf(const NodeId& node) const {
  return std::stoi(node.substr(node.find('-') + 1));
}

void Invariants::Fence(const RunState& state, const NodeId& node) {
  AttemptId& fenced = fenced_[{state.spec.run, IndexOf(node)}];
  fenced = std::max(fenced, state.attempt);
}

// `state` is the run while the attempt was being stopped.
void Invariants::CheckProof(const RunState& state,
                            const NodeAssignment& assignment) {
  const int node = IndexOf(assignment.node);
  if (assignment.proof == StopProof::kFenced) {
    Fence(state, assignment.node);
    return;
  }
  if (assignment.proof == StopProof::kNone) return;
  for (const int id : cluster_->Live()) {
    const Process& process = cluster_->At(id);
    if (process.node != node || process.run != state.spec.run ||
        process.attempt > state.attempt) {
      continue;
    }
    Violate("S2", fmt::format("{} is taken as {}, but rank {} of attempt {} "
                              "lives there",
                              assignment.node, StopProofName(assignment.proof),
                              process.rank.value, process.attempt.value));
  }
}

void Invariants::OnCommit(const std::vector<Change>& changes) {
  durable_runs_.clear();
  for (const Change& change : changes) {
    const auto* run = std::get_if<RunState>(&change);
    if (run == nullptr) continue;
    std::vector<RunState>& states = durable_runs_[run->spec.run];
    const RunState* before = store_->FindRun(run->spec.run);
    if (states.empty() && before != nullptr) states.push_back(*before);
    states.push_back(*run);
  }
  for (const Change& change : changes) {
    if (const auto* run = std::get_if<RunState>(&change)) {
      const RunState* before = store_->FindRun(run->spec.run);
      if (before != nullptr) CheckCommittedRun(*before, *run);
      if (before != nullptr) ObserveHold(*before, *run);
    } else if (const auto* audit = std::get_if<AuditEntry>(&change)) {
      const bool is_stop = audit->action == "pause" || audit->action == "stop";
      if (is_stop && audit->outcome == "accepted" &&
          held_.contains(audit->run)) {
        held_[audit->run].may_stop = true;
      }
    } else if (const auto* row = std::get_if<StepRow>(&change)) {
      CheckCommittedRow(*row);
    } else if (const auto* checkpoint = std::get_if<Checkpoint>(&change)) {
      CheckCommittedCheckpoint(*checkpoint);
    } else if (const auto* cursor = std::get_if<NodeCursor>(&change)) {
      if (cursor->acked < store_->AckedOf(cursor->node, cursor->boot_id)) {
        Violate("S9", "the cursor of " + cursor->node + " goes back");
      }
    } else if (const auto* failed = std::get_if<RankFailed>(&change)) {
      const auto key =
          std::tuple(failed->exit.run, failed->exit.attempt, failed->exit.rank);
      // After a crash of the service what was not acked is applied again, and
      // the store knows it by its key; within one life it must not be.
      exits_known_.insert(key);
      if (++exits_committed_[key] > exits_spooled_[key]) {
        Violate("S5",
                fmt::format("the exit of rank {} of attempt {} is "
                            "applied {} times, reported {} times",
                            failed->exit.rank.value, failed->exit.attempt.value,
                            exits_committed_[key], exits_spooled_[key]));
      }
    } else if (const auto* request = std::get_if<RequestDone>(&change)) {
      if (++requests_done_[request->request_id] > 1) {
        Violate("S5",
                "request " + request->request_id + " is carried out twice");
      }
    } else if (const auto* incident = std::get_if<Incident>(&change)) {
      if (incident->evidence.size() > kMaxEvidence ||
          incident->timeline.size() > kMaxTimeline) {
        Violate("S15", "incident " + incident->Id() + " grows without bound");
      }
    }
  }
}

void Invariants::OnCommitted() {}

void Invariants::CheckCommittedRun(const RunState& before,
                                   const RunState& after) {
  if (after.attempt < before.attempt || after.save_seq < before.save_seq) {
    Violate("S9", fmt::format("attempt {} and save {} are stored after {} and "
                              "{}",
                              after.attempt.value, after.save_seq,
                              before.attempt.value, before.save_seq));
  }
  if (before.phase != RunPhase::kHalted && after.phase == RunPhase::kHalted) {
    ++halts_;
  }
  if (after.restarts.size() > kMaxRestartRecords) {
    Violate("S15", "the list of restarts grows without bound");
  }
  // Decided on, and now it stands: it counts against the budget.
  if (pending_restarts_.erase({after.spec.run, before.attempt}) > 0) {
    CountRestart(after.spec.run);
  } else if (before.phase == RunPhase::kStopping &&
             before.after_stop == AfterStop::kRestart &&
             after.attempt == before.attempt &&
             after.after_stop == AfterStop::kHalt &&
             after.restarts.size() < before.restarts.size()) {
    // Better evidence turned it into a halt before anything was started.
    restarts_[after.spec.run].pop_back();
  }
  if (before.phase == RunPhase::kStopping &&
      before.placement.size() == after.placement.size()) {
    for (const NodeAssignment& assignment : after.placement) {
      CheckProof(before, assignment);
    }
  }
}

void Invariants::CountRestart(const RunId& run) {
  std::deque<Duration>& times = restarts_[run];
  times.push_back(context_.now());
  while (context_.now() - times.front() > std::chrono::hours(1)) {
    times.pop_front();
  }
  if (static_cast<int>(times.size()) > bounds_.restarts_per_hour) {
    Violate("S11", fmt::format("{} automatic restarts within an hour, {} are "
                               "allowed",
                               times.size(), bounds_.restarts_per_hour));
  }
}

void Invariants::CheckCommittedRow(const StepRow& row) {
  rows_.insert({row.run, row.attempt, row.step});
  context_.trace.Line(context_.now(), "store", "row {}/{} step {}{}", row.run,
                      row.attempt.value, row.step.value,
                      row.is_complete ? "" : ", not complete");
  std::set<std::int64_t> stamps;
  const auto metric = std::ranges::find(
      row.metrics, static_cast<std::uint32_t>(Metric::kTokens));
  if (metric == row.metrics.end()) return;
  const auto column = static_cast<std::size_t>(metric - row.metrics.begin());
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::size_t rank = 0; rank < world; ++rank) {
    const float value = row.values[column * world + rank];
    if (!IsAbsent(value)) stamps.insert(static_cast<std::int64_t>(value));
  }
  for (const std::int64_t stamp : stamps) {
    const auto [it, is_first] = applied_stamps_.emplace(stamp, store_->epoch());
    if (is_first) continue;
    // After a crash of the service what was not acked is applied again, and
    // the store merges rows by rank; all else is once only.
    const Origin& origin = origins_[stamp];
    const bool is_acked =
        origin.seq <= store_->AckedOf(fmt::format("node-{}", origin.node),
                                      boots_[origin.node]);
    if (it->second == store_->epoch() || is_acked) {
      Violate("S5", fmt::format("report {} of node-{}, step {} of attempt {}, "
                                "is applied twice",
                                origin.seq.value, origin.node, row.step.value,
                                row.attempt.value));
    }
    it->second = store_->epoch();
  }
}

void Invariants::CheckCommittedCheckpoint(const Checkpoint& checkpoint) {
  const Checkpoint* before = store_->FindCheckpoint(
      checkpoint.run, checkpoint.attempt, checkpoint.step);
  const RunState* run = store_->FindRun(checkpoint.run);
  if (run == nullptr) return;
  const std::size_t shards = before == nullptr ? 0 : before->shards.size();
  if (checkpoint.shards.size() > shards && checkpoint.attempt < run->attempt) {
    Violate("S2", fmt::format("the ledger takes a shard of step {} of attempt "
                              "{} while the run is at attempt {}",
                              checkpoint.step.value, checkpoint.attempt.value,
                              run->attempt.value));
  }
  if (before != nullptr && before->state == CheckpointState::kDistrusted &&
      checkpoint.state != CheckpointState::kDistrusted) {
    Violate("S13", "a distrusted checkpoint is trusted again");
  }
}

// --- Effects.
// ------------------------------------------------------------------

void Invariants::OnServerEffect(const Effect& effect, int node) {
  if (const auto* send = std::get_if<SendCommand>(&effect)) {
    CheckCommand(send->command, node);
  } else if (const auto* ack = std::get_if<AckReports>(&effect)) {
    CheckAck(*ack, node);
  } else if (const auto* welcome = std::get_if<SendWelcome>(&effect)) {
    if (welcome->welcome.resume_after >
        store_->AckedOf(fmt::format("node-{}", node),
                        session_boots_[welcome->session])) {
      Violate("S4", fmt::format("node-{} is told to resume after {}, more than "
                                "is committed",
                                node, welcome->welcome.resume_after.value));
    }
  } else if (const auto* page = std::get_if<Page>(&effect)) {
    last_page_[page->run] = page->text;
  }
}

void Invariants::ObserveHold(const RunState& before, const RunState& after) {
  if (!after.is_held) {
    held_.erase(after.spec.run);
    return;
  }
  const auto [held, is_new] = held_.try_emplace(after.spec.run);
  if (is_new) held->second.may_stop = after.save_then_stop;
  // Taken over from a newer store: nothing is started by it.
  const bool is_taken_over =
      after.phase == RunPhase::kRunning && after.attempt != before.attempt;
  if ((is_new && IsLivePhase(after.phase)) || is_taken_over) {
    held->second.live = after.attempt;
  }
}

void Invariants::CheckHeldCommand(const Command& command) {
  const auto found = held_.find(command.run);
  if (found == held_.end()) return;
  const Held& held = found->second;
  const bool is_start = std::holds_alternative<StartCommand>(command.body);
  if (is_start && command.attempt != held.live) {
    Violate("S20", command.command_id + " leaves while the run is held");
  }
  const bool is_stop = std::holds_alternative<StopCommand>(command.body);
  if (is_stop && held.live.value > 0 && !held.may_stop &&
      command.attempt > held.live) {
    Violate("S20", command.command_id + " leaves while the run is held");
  }
}

void Invariants::CheckCommand(const Command& command, int node) {
  CheckHeldCommand(command);
  std::deque<Duration>& sent = commands_sent_[node];
  sent.push_back(context_.now());
  while (context_.now() - sent.front() > seconds(1)) sent.pop_front();
  if (sent.size() > kMaxCommandsPerSecond) {
    Violate("S15", fmt::format("node-{} is sent {} commands in a second", node,
                               sent.size()));
  }
  if (command.server_epoch != store_->epoch()) {
    Violate("S10", "a command of another epoch than the service's own");
  }
  if (std::holds_alternative<StopCommand>(command.body)) {
    AttemptId& floor = stop_sent_[{command.run, node}];
    floor = std::max(floor, command.attempt);
  }
  const RunState* stored = store_->FindRun(command.run);
  if (stored == nullptr) {
    Violate("S8", command.command_id + " of a run that is not stored");
    return;
  }
  std::string why = WhyNotDue(command, node, *stored);
  // One transaction may hold several states of a run: each was durable when
  // the commands that follow from it left.
  for (const RunState& state : durable_runs_[command.run]) {
    if (!why.empty() && WhyNotDue(command, node, state).empty()) why.clear();
  }
  if (why.empty()) return;
  Violate("S8",
          fmt::format("{} leaves while the stored state is {} at attempt {}: "
                      "{}",
                      command.command_id, RunPhaseName(stored->phase),
                      stored->attempt.value, why));
}

// Empty if `run` asks for the command.
std::string Invariants::WhyNotDue(const Command& command, int node,
                                  const RunState& run) const {
  const NodeAssignment* assignment =
      FindAssignment(run, fmt::format("node-{}", node));
  if (std::holds_alternative<StopCommand>(command.body)) {
    const AttemptId highest =
        IsLivePhase(run.phase) ? run.attempt : run.attempt.Next();
    return command.attempt > highest ? "it fences more than was decided" : "";
  }
  if (const auto* start = std::get_if<StartCommand>(&command.body)) {
    if (!IsLivePhase(run.phase) || command.attempt != run.attempt) {
      return "no start is due";
    }
    if (assignment == nullptr) return "the node is not placed";
    if (assignment->boot_id != command.boot_id) {
      return "it is for another life of the node";
    }
    const bool is_as_decided = start->resume_step == run.resume_step &&
                               start->master_port == run.master_port &&
                               start->master_address == run.master_address &&
                               start->node_rank == assignment->node_rank;
    return is_as_decided ? "" : "it differs from what was decided";
  }
  if (const auto* save = std::get_if<SaveCommand>(&command.body)) {
    const bool is_agreed =
        IsLivePhase(run.phase) && command.attempt == run.attempt &&
        save->save_seq == run.save_seq && run.save_step == save->step;
    return is_agreed ? "" : "no such save is agreed";
  }
  if (std::holds_alternative<VerifyCommand>(command.body)) {
    return run.phase == RunPhase::kVerifying ? "" : "nothing is to be verified";
  }
  return IsEnded(run.phase) ? "" : "the run has not ended";
}

bool Invariants::IsCommitted(const Tracked& report) const {
  const RunState* run = store_->FindRun(report.run);
  // Stale, or of nothing known here: counted and let go.
  const bool is_stale = run == nullptr || report.attempt != run->attempt ||
                        !IsLivePhase(run->phase);
  switch (report.kind) {
    case 0:  // StepBlock
      return is_stale || applied_stamps_.contains(report.stamp) ||
             rows_.contains({report.run, report.attempt, report.step});
    case 1:  // RankExited
      return run == nullptr || report.has_error ||
             exits_known_.contains({report.run, report.attempt, report.rank});
    case 2: {  // CheckpointShard
      if (is_stale || report.has_error) return true;
      const Checkpoint* checkpoint =
          store_->FindCheckpoint(report.run, report.attempt, report.step);
      return checkpoint != nullptr &&
             checkpoint->shards.contains(report.rank.value);
    }
    default:
      return true;
  }
}

void Invariants::CheckAck(const AckReports& ack, int node) {
  const ReportSeq stored = store_->AckedOf(fmt::format("node-{}", node),
                                           session_boots_[ack.session]);
  if (session_boots_[ack.session] != boots_[node]) return;  // Too late.
  if (ack.seq > stored) {
    Violate("S4", fmt::format("node-{}: report {} is acked, {} is stored", node,
                              ack.seq.value, stored.value));
  }
  for (const auto& [seq, report] : reports_[node]) {
    if (seq > ack.seq) break;
    if (!IsCommitted(report)) {
      Violate("S4", fmt::format("node-{}: report {} (kind {}, step {} of "
                                "attempt {}, rank {}) is acked, but its "
                                "content is not stored",
                                node, seq.value, report.kind, report.step.value,
                                report.attempt.value, report.rank.value));
    }
  }
}

std::size_t Invariants::OutstandingReports(int node) const {
  return reports_[node].size();
}

}  // namespace steadyrun::sim
