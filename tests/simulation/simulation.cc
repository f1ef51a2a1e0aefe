#include "tests/simulation/simulation.h"

#include <algorithm>
#include <utility>

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

// After the faults have stopped. Bounded by the longest deadline of the
// default policy that may have to pass: compile, 30 min, three times that
// while all ranks are busy; most histories need a minute.
constexpr Duration kSettleLimit = minutes(110);
constexpr std::int64_t kNever = 1'000'000'000;
// What was left behind by a fault may halt a run once more after the end of
// the faults, or twice; then it has to go on.
constexpr int kMaxHalts = 3;
// What may be queued or on the wire at any time (S15).
constexpr std::size_t kMaxQueue = 20'000;

}  // namespace

Simulation::Simulation(const SimulationOptions& options)
    : context_(options.seed) {
  if (options.keeps_trace) context_.trace.KeepLines();
  context_.faults =
      options.faults ? *options.faults : FaultsOfSeed(options.seed);
  BuildCluster(options);
}

void Simulation::BuildCluster(const SimulationOptions& options) {
  SimRandom& random = context_.random;
  network_ = std::make_unique<SimNetwork>(context_);
  invariants_ = std::make_unique<Invariants>(context_);
  cluster_ = std::make_unique<SimCluster>(context_, *invariants_);
  server_ = std::make_unique<SimServer>(context_, *network_, *invariants_,
                                        options.engine_mutation);
  invariants_->Attach(cluster_.get(), &server_->store());
  network_->SetServer(server_.get());

  const bool has_two_runs = random.Chance(0.15);
  int nodes = 0;
  for (int i = 0; i < (has_two_runs ? 2 : 1); ++i) {
    RunSpec spec;
    spec.run = i == 0 ? "gpt" : "bert";
    spec.argv = {"python3", "train.py"};
    spec.nodes = static_cast<std::int32_t>(
        random.Chance(0.15) ? 1 : random.Int(2, has_two_runs ? 3 : 5));
    spec.ranks_per_node = static_cast<std::int32_t>(random.Int(1, 4));
    spec.checkpoint_directory = "/checkpoints/" + spec.run;
    spec.target_steps = random.Int(200, 900);
    nodes += spec.nodes;
    TrainingPlan plan;
    plan.step_time = random.Time(milliseconds(300), milliseconds(2500));
    plan.checkpoint_interval = random.Int(8, 40);
    plan.is_sharded = random.Chance(0.6);
    plan.first_step = random.Chance(0.2)
                          ? random.Time(seconds(10), seconds(120))
                          : random.Time(seconds(1), seconds(6));
    if (random.Chance(0.2)) {
      // The trainer saves only when told to.
      spec.policy_toml = fmt::format("[checkpoint]\ninterval_steps = {}\n",
                                     plan.checkpoint_interval);
      plan.checkpoint_interval = kNever;
    }
    cluster_->SetPlan(spec.run, plan);
    specs_.push_back(std::move(spec));
  }
  nodes += static_cast<int>(random.Int(0, 2));  // Spares.

  Invariants::Bounds bounds;
  bounds.expects_no_restart = context_.faults.profile == "healthy";
  if (random.Chance(0.3)) {
    bounds.restarts_per_hour = static_cast<int>(random.Int(2, 5));
    for (RunSpec& spec : specs_) {
      spec.policy_toml +=
          fmt::format("[restart]\nper_hour = {}\n", bounds.restarts_per_hour);
    }
  }
  invariants_->SetBounds(bounds);

  for (int node = 0; node < nodes; ++node) {
    cluster_->AddNode();
    agents_.push_back(std::make_unique<SimAgent>(context_, *cluster_, *network_,
                                                 *invariants_, node,
                                                 options.core_mutation));
    network_->AddAgent(agents_.back().get());
  }
  cluster_->SetOnGone([this](const Process& process) {
    agents_[static_cast<std::size_t>(process.node)]->OnProcessGone();
  });
  people_ = std::make_unique<SimOperator>(context_, *server_);
  std::vector<RunId> runs;
  for (const RunSpec& spec : specs_) runs.push_back(spec.run);
  chaos_ = std::make_unique<Chaos>(Chaos::Parts{context_, *cluster_, *network_,
                                                *server_, agents_, *people_,
                                                std::move(runs)});
  chaos_time_ = random.Time(minutes(3), minutes(12));
}

void Simulation::LaunchRuns() {
  server_->Start();
  for (auto& agent : agents_) agent->Start();
  for (const RunSpec& spec : specs_) {
    context_.queue.After(context_.random.Time(milliseconds(0), seconds(5)),
                         [this, spec] { people_->Launch(spec); });
  }
}

void Simulation::RunUntil(Duration time) {
  bool is_over = false;
  context_.queue.At(time, [&is_over] { is_over = true; });
  while (!is_over && !HasViolation() && context_.queue.RunOne()) {
  }
}

SimulationResult Simulation::Run() {
  LaunchRuns();
  chaos_->Begin();
  RunUntil(chaos_time_);
  if (!HasViolation()) {
    chaos_->Heal();
    CheckLiveness();
  }

  SimulationResult result;
  result.violation = invariants_->violation();
  result.profile = std::string(context_.faults.profile);
  result.events = context_.queue.executed();
  result.virtual_time = context_.now();
  result.automatic_restarts = invariants_->automatic_restarts();
  result.halts = invariants_->halts();
  result.injected = context_.injected;
  context_.trace.Mix(context_.queue.executed());
  context_.trace.Mix(static_cast<std::uint64_t>(context_.now().count()));
  context_.trace.Mix(context_.random.Next());
  for (const RunSpec& spec : specs_) {
    const RunState* run = server_->store().FindRun(spec.run);
    if (run == nullptr) continue;
    result.attempts += static_cast<std::uint64_t>(run->attempts);
    if (run->phase == RunPhase::kCompleted) ++result.completed;
    context_.trace.Mix(static_cast<std::uint64_t>(run->max_step.value));
    context_.trace.Mix(static_cast<std::uint64_t>(run->attempt.value));
  }
  result.digest = context_.trace.digest();
  result.trace = context_.trace.lines();
  return result;
}

// --- Liveness: L1, L2, L3, L5, and the end of every open order.
// -----------------

void Simulation::CheckLiveness() {
  const Duration healed = context_.now();
  std::string why;
  // A minute at a time; the world must be at rest for two looks in a row.
  int calm = 0;
  while (context_.now() - healed < kSettleLimit && !HasViolation()) {
    RunUntil(context_.now() + seconds(10));
    WakeHeldRuns();
    why = WhyNotSettled();
    calm = why.empty() ? calm + 1 : 0;
    if (calm == 2) break;
  }
  if (HasViolation()) return;
  if (!why.empty()) {
    invariants_->Violate("LIVENESS", why);
    return;
  }
  if (server_->LargestQueue() > kMaxQueue ||
      network_->LargestBacklog() > kMaxQueue) {
    invariants_->Violate("S15", "a queue grew without bound");
  }
}

// People come back to work: what they had held or paused goes on, and what is
// halted, for a reason they were told, is tried again now that nothing is
// wrong.
void Simulation::WakeHeldRuns() {
  if (!people_->IsIdle()) return;
  for (const RunSpec& spec : specs_) {
    const RunState* run = server_->store().FindRun(spec.run);
    if (run == nullptr) continue;
    if (run->is_held) {
      if (run->held_incident != 0 &&
          !invariants_->last_page().contains(spec.run)) {
        invariants_->Violate("LIVENESS",
                             spec.run + ": a fault waits and nobody was told");
      }
      people_->Order(spec.run, OperatorAction::kUnhold);
      continue;
    }
    const bool is_halted = run->phase == RunPhase::kHalted;
    if (!is_halted && run->phase != RunPhase::kPaused) continue;
    if (is_halted && (run->phase_reason.empty() ||
                      !invariants_->last_page().contains(spec.run))) {
      invariants_->Violate("LIVENESS",
                           spec.run + " is halted and nobody was told why");
    }
    if (is_halted && ++halts_[spec.run] > kMaxHalts) continue;
    people_->Order(spec.run, OperatorAction::kResume);
  }
}

std::string Simulation::WhyRunNotSettled(const RunId& name) {
  const RunState* run = server_->store().FindRun(name);
  if (run == nullptr) return name + " was never launched";
  switch (run->phase) {
    case RunPhase::kCompleted:
    case RunPhase::kStopped:
      return "";
    default:
      // The run must reach its last step: making one more is not enough.
      return fmt::format("{} is {} at attempt {} step {}: {}", name,
                         RunPhaseName(run->phase), run->attempt.value,
                         run->max_step.value, run->phase_reason);
  }
}

std::string Simulation::WhyNotSettled() {
  for (const RunSpec& spec : specs_) {
    std::string why = WhyRunNotSettled(spec.run);
    if (!why.empty()) return why;
  }
  if (!cluster_->Live().empty()) {
    const Process& process = cluster_->At(cluster_->Live().front());
    return fmt::format("rank {} of {}/{} still lives on node-{}",
                       process.rank.value, process.run, process.attempt.value,
                       process.node);
  }
  if (!people_->IsIdle()) return "an order was never answered";
  for (std::size_t node = 0; node < agents_.size(); ++node) {
    if (!agents_[node]->IsConnected()) {
      return agents_[node]->name() + " is not connected";
    }
    if (!agents_[node]->IsDrained() ||
        invariants_->OutstandingReports(static_cast<int>(node)) > 0) {
      return fmt::format("{} still has {} reports that are not acknowledged",
                         agents_[node]->name(),
                         agents_[node]->disk().spool.size());
    }
  }
  return "";
}

}  // namespace steadyrun::sim
