#include "tests/property/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/recovery/command_derivation.h"
#include "server/recovery/phase_change.h"
#include "server/recovery/time_ledger.h"

namespace steadyrun {
namespace {

constexpr int kNodes = 5;
constexpr Duration kPace = std::chrono::milliseconds(250);
constexpr std::size_t kKeptLines = 40;

RunSpec Spec() {
  RunSpec spec;
  spec.run = "r";
  spec.argv = {"train"};
  spec.nodes = 3;
  spec.ranks_per_node = 2;
  spec.checkpoint_directory = "/c";
  spec.target_steps = 1000;
  return spec;
}

bool IsOrder(const Trigger& trigger) {
  return std::holds_alternative<OperatorOrdered>(trigger);
}

}  // namespace

History::History(std::uint64_t seed, RecoveryDefects defects)
    : random_(seed), defects_(defects), policy_(DefaultPolicy()) {
  // Small numbers, so that limits are met often.
  policy_.restart.restarts_per_hour = 6;
  policy_.restart.restarts_per_day = 20;
  now_ = {MonoTime(std::chrono::hours(48)),
          WallTime(std::chrono::milliseconds(1'700'000'000'000))};
  for (int i = 0; i < kNodes; ++i) {
    const std::string name = "n" + std::to_string(i);
    Node& node = nodes_[name];
    node.state.node = name;
    node.state.boot_id = name + ":1";
    node.state.rendezvous_port = 1000;
    node.heard = now_.mono;
    Tell(name);
  }
  state_.spec = Spec();
  state_.created = state_.accounted = now_.wall;
  state_.phase_since = now_;
  state_.attempt = state_.guard_from = AttemptId{1};
  Store();
}

bool History::Chance(double p) {
  return std::uniform_real_distribution<double>(0, 1)(random_) < p;
}

int History::Pick(int below) {
  return std::uniform_int_distribution<int>(0, below - 1)(random_);
}

void History::Log(std::string line) {
  log_.push_back(fmt::format("{:8.2f} {}",
                             ToSeconds(now_.mono.time_since_epoch()) - 172800,
                             std::move(line)));
  if (log_.size() > kKeptLines) log_.erase(log_.begin());
}

void History::Violated(const std::string& what) {
  if (!violation_.empty()) return;
  violation_ = what + "\n";
  for (const std::string& line : log_) violation_ += "  " + line + "\n";
}

// --- The machine and its surroundings.

ClusterView History::View() const {
  ClusterView view;
  for (const auto& [name, node] : nodes_) {
    if (!node.is_known) continue;
    NodeFacts facts;
    facts.node = name;
    facts.state = &node.seen;
    facts.is_connected = node.is_connected;
    facts.silence = now_.mono - node.heard;
    facts.is_quarantined = node.is_quarantined;
    view.nodes.push_back(std::move(facts));
  }
  return view;
}

void History::Store() { stored_ = state_; }

void History::Do(const Trigger& trigger) {
  const ClusterView view = View();
  const RecoveryContext context{policy_, view, checkpoints_, verified_,
                                defects_};
  const RunState before = state_;
  RunState again = state_;
  const Advanced advanced = Advance(&state_, trigger, context, now_);
  const Advanced twice = Advance(&again, trigger, context, now_);
  if (!(again == state_) || twice.reason != advanced.reason ||
      twice.intents.size() != advanced.intents.size()) {
    Violated("equal inputs gave unequal outputs");
  }
  if (!advanced.has_changed &&
      !(before.phase == state_.phase && before.attempt == state_.attempt &&
        before.placement == state_.placement)) {
    Violated("durable facts changed, and nobody was told");
  }
  for (const Intent& intent : advanced.intents) {
    if (const auto* one = std::get_if<DistrustCheckpoint>(&intent)) {
      auto it = checkpoints_.find({one->step, one->attempt});
      if (it != checkpoints_.end()) {
        it->second.state = CheckpointState::kDistrusted;
      }
    } else if (const auto* all = std::get_if<DistrustFrom>(&intent)) {
      for (auto& [key, checkpoint] : checkpoints_) {
        if (key.first >= all->step) {
          checkpoint.state = CheckpointState::kDistrusted;
        }
      }
    }
  }
  if (state_.phase != before.phase) {
    Log(fmt::format("{} -> {} attempt {} ({})", RunPhaseName(before.phase),
                    RunPhaseName(state_.phase), state_.attempt.value,
                    state_.phase_reason));
    verified_.clear();
    saved_.clear();
  }
  CheckTransition(before, trigger, advanced);
  CheckTime();
  // Write-ahead: stored before anything follows from it.
  if (advanced.has_changed) Store();
}

void History::SendCommands() {
  const DerivationContext context{epoch_,    policy_, checkpoints_,
                                  verified_, saved_,  true};
  const ClusterView view = View();
  for (const NodeFacts& facts : view.nodes) {
    for (const Command& command : DeriveCommands(state_, facts, context)) {
      if (Chance(0.15)) continue;  // Lost.
      Deliver(facts.node, command);
      if (Chance(0.1)) Deliver(facts.node, command);  // Twice.
    }
  }
}

void History::Deliver(const std::string& name, const Command& command) {
  Node& node = nodes_[name];
  if (node.is_dead || command.boot_id != node.state.boot_id) return;
  NodeRunState* run = nullptr;
  for (NodeRunState& r : node.state.runs) run = &r;
  if (run == nullptr) {
    node.state.runs.push_back({"r", {}, {}, {}});
    run = &node.state.runs.back();
  }
  if (std::holds_alternative<StopCommand>(command.body)) {
    run->floor = std::max(run->floor, command.attempt);
    for (RankState& rank : run->ranks) {
      if (rank.attempt < run->floor) rank.life = RankLife::kExited;
    }
    ++tally_.stops;
  } else if (const auto* start = std::get_if<StartCommand>(&command.body)) {
    if (command.attempt != run->floor || command.attempt <= run->started) {
      return;
    }
    CheckStart(name, command.attempt);
    run->started = command.attempt;
    run->ranks.clear();
    for (const RankStart& rank : start->ranks) {
      RankState state;
      state.rank = rank.rank;
      state.attempt = command.attempt;
      state.life = RankLife::kAlive;
      run->ranks.push_back(state);
    }
    truth_step_ = start->resume_step.value;
    ++tally_.starts;
    Log(fmt::format("{} starts attempt {}", name, command.attempt.value));
  } else if (std::holds_alternative<VerifyCommand>(command.body)) {
    if (Chance(0.1)) {
      Do(ShardCheckFailed{name, Rank{0}, "changed"});
    } else if (state_.phase == RunPhase::kVerifying &&
               state_.attempt == command.attempt) {
      verified_.insert(name);
    }
  } else if (std::holds_alternative<SaveCommand>(command.body)) {
    saved_.insert(name);
  } else {
    node.state.runs.clear();
  }
}

void History::Tell(const std::string& name) {
  Node& node = nodes_[name];
  if (node.is_dead) return;
  node.seen = node.state;
  node.is_known = true;
  node.is_connected = true;
  node.heard = now_.mono;
}

void History::Reload() {
  ++tally_.reloads;
  Log("the service is restarted");
  state_ = stored_;
  verified_.clear();
  saved_.clear();
  ++epoch_;
  for (auto& [name, node] : nodes_) {
    node.is_connected = false;
    node.heard = now_.mono;  // Silence counts from the start.
  }
}

// --- What happens.

void History::Train() {
  if (!IsLive(state_.phase)) return;
  int alive = 0;
  for (auto& [name, node] : nodes_) {
    if (node.is_dead) continue;
    for (const NodeRunState& run : node.state.runs) {
      for (const RankState& rank : run.ranks) {
        alive += rank.attempt == state_.attempt && rank.life == RankLife::kAlive
                     ? 1
                     : 0;
      }
    }
  }
  if (alive != state_.spec.WorldSize()) return;
  ++truth_step_;
  const bool was_starting = state_.phase == RunPhase::kStarting;
  Do(StepCompleted{Step{truth_step_}});
  if (was_starting && state_.phase == RunPhase::kRunning) {
    ++tally_.first_steps;
  }
  if (truth_step_ % 5 == 0) {
    Checkpoint checkpoint;
    checkpoint.run = "r";
    checkpoint.attempt = state_.attempt;
    checkpoint.step = Step{truth_step_};
    checkpoint.state = CheckpointState::kVerified;
    checkpoint.shards_expected = 1;
    checkpoint.shards[0].path = fmt::format("/c/{}", truth_step_);
    checkpoints_[{checkpoint.step, checkpoint.attempt}] = checkpoint;
  }
  if (Chance(0.0005)) {
    Do(AllFinished{});
    ++tally_.completions;
  }
}

void History::Fail(IncidentKind kind, const std::string& node, Step step,
                   const std::string& signature) {
  FailureFound found;
  found.failure = {kind, signature, step};
  found.incident = 1;
  found.culprit.node = node;
  found.onset = now_.wall;
  found.reason = fmt::format("{} on {}", IncidentKindName(kind), node);
  const RunPhase before = state_.phase;
  const std::size_t restarts = state_.restarts.size();
  Log(found.reason);
  Do(found);
  if (IsLive(before) && state_.phase == RunPhase::kStopping &&
      state_.after_stop == AfterStop::kHalt) {
    ++tally_.halts;
  }
  if (state_.restarts.size() > restarts) automatic_.push_back(now_.mono);
}

void History::Order(enum Order order, Step step) {
  OperatorOrdered ordered;
  ordered.order = order;
  ordered.actor = "op";
  ordered.reason = "chance";
  ordered.request_id = "q";
  ordered.step = step;
  ordered.newest_step = state_.attempt_step;
  ordered.step_seconds = 0.25;
  Log(fmt::format("order {}", static_cast<int>(order)));
  Do(ordered);
}

// What still stands is found again at once.
void History::Release() {
  const bool has_fault = state_.held_incident != 0;
  Order(Order::kUnhold, kNoStep);
  if (!has_fault) return;
  ++tally_.held_faults;
  if (IsLive(state_.phase)) {
    Fail(IncidentKind::kCrash, "n0", state_.attempt_step, "held");
  }
}

void History::Disturb() {
  const std::string name = "n" + std::to_string(Pick(kNodes));
  Node& node = nodes_[name];
  switch (Pick(14)) {
    case 0:  // A rank dies.
    case 1:
      for (NodeRunState& run : node.state.runs) {
        for (RankState& rank : run.ranks) rank.life = RankLife::kExited;
      }
      Tell(name);
      Fail(IncidentKind::kCrash, name, state_.attempt_step,
           Chance(0.5) ? "A" : "B");
      break;
    case 2:  // The stream ends; ranks go on.
    case 3:
      node.is_connected = false;
      break;
    case 4:  // The node dies.
      node.is_connected = false;
      node.is_dead = true;
      for (NodeRunState& run : node.state.runs) run.ranks.clear();
      Fail(IncidentKind::kNodeLost, name, state_.attempt_step, "lost");
      break;
    case 5:  // It is passed for lost, but lives on.
      node.is_connected = false;
      Fail(IncidentKind::kNodeLost, name, state_.attempt_step, "lost");
      break;
    case 6:  // It boots.
      node.is_dead = false;
      node.state.boot_id += "x";
      node.state.runs.clear();
      Tell(name);
      Fail(IncidentKind::kNodeLost, name, state_.attempt_step, "rebooted");
      break;
    case 7:
      Fail(IncidentKind::kNan, name, Step{truth_step_}, "nan");
      break;
    case 8:
      Fail(IncidentKind::kHang, name, state_.attempt_step, "hang");
      break;
    case 9:
      Reload();
      break;
    case 10:
      if (Chance(0.3)) {
        Order(Order::kHold, kNoStep);
        if (state_.is_held) ++tally_.holds;
        break;
      }
      Order(Chance(0.5) ? Order::kPause : Order::kRestart, kNoStep);
      if (state_.save_then_stop) ++tally_.pauses;
      break;
    case 11:
      Order(Order::kRollback, Step{5 * Pick(20)});
      break;
    case 12:
      node.is_quarantined = Chance(0.3);
      break;
    case 13:
      if (Chance(0.05)) Order(Order::kStop, kNoStep);
      break;
    default:
      break;
  }
}

// Chaos ends: everybody is there and speaks.
void History::Heal() {
  for (auto& [name, node] : nodes_) {
    node.is_dead = false;
    node.is_quarantined = false;
    Tell(name);
  }
  if (state_.is_held) Release();
}

void History::Tick() {
  now_.mono += kPace;
  now_.wall += std::chrono::duration_cast<std::chrono::milliseconds>(kPace);
  for (auto& [name, node] : nodes_) {
    if (node.is_connected ? Chance(0.9) : Chance(0.05)) Tell(name);
  }
  Train();
  if (state_.save_then_stop && Chance(0.3)) Do(PauseSaveEnded{"saved"});
  Do(Reconsider{});
  SendCommands();
  // A start that went wrong is found by its deadline.
  if (state_.phase == RunPhase::kStarting &&
      now_.mono - state_.phase_since.mono > std::chrono::seconds(10)) {
    Fail(IncidentKind::kStartFailed, "", kNoStep, "late");
  }
}

std::string History::Run() {
  const int events = 200 + Pick(400);
  for (int i = 0; i < events && violation_.empty(); ++i) {
    Tick();
    if (Chance(0.08)) Disturb();
    // Rarely: hours pass in quiet, and the budget fills up again.
    if (Chance(0.002)) {
      const auto hours = std::chrono::minutes(10 + Pick(120));
      now_.mono += hours;
      now_.wall += hours;
      for (auto& [name, node] : nodes_) node.heard += hours;
    }
    if (state_.is_held && Chance(0.02)) Release();
    if (AwaitsPerson(state_.phase) && Chance(0.1))
      Order(Order::kResume, kNoStep);
    if (IsEnded(state_.phase)) break;
  }
  // Liveness: with all nodes back and no faults, it comes to rest.
  Heal();
  for (int i = 0; i < 800 && violation_.empty(); ++i) {
    for (auto& [name, node] : nodes_) Tell(name);
    Tick();
    if (state_.phase == RunPhase::kRunning && !state_.save_then_stop) break;
    if (AwaitsPerson(state_.phase) || IsEnded(state_.phase)) break;
  }
  if (violation_.empty() && state_.phase != RunPhase::kRunning &&
      !AwaitsPerson(state_.phase) && !IsEnded(state_.phase)) {
    Violated(fmt::format("the faults ended 200 s ago, and it is still {}",
                         RunPhaseName(state_.phase)));
  }
  return violation_;
}

// --- Invariants.

bool History::IsAliveAnywhere(AttemptId below, std::string* where) const {
  for (const auto& [name, node] : nodes_) {
    if (node.is_dead) continue;
    auto fence = fenced_.find(name);
    for (const NodeRunState& run : node.state.runs) {
      for (const RankState& rank : run.ranks) {
        if (rank.life == RankLife::kExited || rank.attempt >= below) continue;
        // Put on record as passed over: allowed, behind the fence.
        if (fence != fenced_.end() && rank.attempt <= fence->second) continue;
        *where = fmt::format("attempt {} on {}", rank.attempt.value, name);
        return true;
      }
    }
  }
  return false;
}

// Two attempts never run at once; no attempt is ever started again on a node.
void History::CheckStart(const std::string& name, AttemptId attempt) {
  std::string where;
  if (IsAliveAnywhere(attempt, &where)) {
    Violated(fmt::format("{} starts attempt {} beside {}", name, attempt.value,
                         where));
  }
  std::int64_t& highest = spawned_[name];
  if (attempt.value <= highest) {
    Violated(fmt::format("{} starts attempt {} after {}", name, attempt.value,
                         highest));
  }
  highest = attempt.value;
  if (stored_.attempt != attempt || stored_.phase != RunPhase::kStarting) {
    Violated("a start left before it was stored");
  }
}

void History::CheckTransition(const RunState& before, const Trigger& trigger,
                              const Advanced& advanced) {
  for (const Intent& intent : advanced.intents) {
    const auto* passed = std::get_if<NodePassedOver>(&intent);
    if (passed == nullptr) continue;
    ++tally_.fences;
    fenced_[passed->node] = before.attempt;
  }
  if (AwaitsPerson(before.phase) && state_.phase != before.phase &&
      !IsOrder(trigger)) {
    Violated(
        fmt::format("left {} without an operator", RunPhaseName(before.phase)));
  }
  const bool stops = IsLive(before.phase) && !before.save_then_stop &&
                     state_.phase != before.phase && !IsLive(state_.phase) &&
                     !IsEnded(state_.phase);
  const bool starts = state_.phase == RunPhase::kStarting &&
                      before.phase != RunPhase::kStarting;
  if (before.is_held && (stops || starts) && !IsOrder(trigger)) {
    Violated(fmt::format("{} -> {} while it is held",
                         RunPhaseName(before.phase),
                         RunPhaseName(state_.phase)));
  }
  if (IsEnded(before.phase) && state_.phase != before.phase) {
    Violated("an ended run moved");
  }
  if (state_.attempt < before.attempt) {
    Violated("attempt numbers went back");
  }
  if (state_.phase == RunPhase::kStarting &&
      before.phase != RunPhase::kStarting) {
    if (!started_.insert(state_.attempt.value).second) {
      Violated(fmt::format("attempt {} is used twice", state_.attempt.value));
    }
    if (state_.resume_step != kNoStep) {
      auto it = checkpoints_.find({state_.resume_step, state_.resume_attempt});
      if (it == checkpoints_.end() || !IsUsable(it->second)) {
        Violated(fmt::format("resumes from an unusable checkpoint, step {}",
                             state_.resume_step.value));
      }
    }
    std::set<NodeId> nodes;
    for (const NodeAssignment& assignment : state_.placement) {
      nodes.insert(assignment.node);
    }
    if (nodes.size() != static_cast<std::size_t>(state_.spec.nodes)) {
      Violated("a node is placed twice, or one is missing");
    }
  }
  // The budget, counted by the truth.
  int hour = 0;
  for (const MonoTime at : automatic_) {
    hour += now_.mono - at < std::chrono::hours(1) ? 1 : 0;
  }
  if (hour > policy_.restart.restarts_per_hour) {
    Violated(fmt::format("{} automatic restarts within an hour", hour));
  }
}

void History::CheckTime() {
  const double sum = AccountedSeconds(state_);
  const double wall =
      std::chrono::duration<double>(state_.accounted - state_.created).count();
  if (std::abs(sum - wall) > 1e-6 * std::max(1.0, wall)) {
    Violated(fmt::format("accounted {} s of {} s", sum, wall));
  }
  for (const auto& [cause, seconds] : state_.time_seconds) {
    if (seconds < 0) Violated("negative time for " + cause);
  }
}

}  // namespace steadyrun
