#include "server/recovery/command_derivation.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "server/recovery/phase_change.h"

namespace steadyrun {
namespace {

// The grace of a stop that an operator asked for: time for trainers to say
// good-bye, where nothing is waiting for the restart.
constexpr Duration kOperatorGrace = std::chrono::seconds(3);

const NodeAssignment* FindAssignment(const RunState& state,
                                     const NodeId& node) {
  for (const NodeAssignment& assignment : state.placement) {
    if (assignment.node == node) return &assignment;
  }
  return nullptr;
}

class Derivation {
 public:
  Derivation(const RunState& state, const NodeFacts& facts,
             const DerivationContext& context)
      : state_(state),
        facts_(facts),
        context_(context),
        run_(FindRun(facts, state.spec.run)),
        assignment_(FindAssignment(state, facts.node)) {}

  std::vector<Command> Derive() {
    if (IsEnded(state_.phase)) {
      DeriveForEnded();
      return std::move(commands_);
    }
    DeriveStop();
    if (assignment_ == nullptr ||
        assignment_->boot_id != facts_.state->boot_id) {
      return std::move(commands_);
    }
    if (state_.phase == RunPhase::kVerifying) DeriveVerify();
    if (state_.phase == RunPhase::kStarting) DeriveStart();
    if (state_.phase == RunPhase::kRunning) DeriveSave();
    return std::move(commands_);
  }

 private:
  // No process of an attempt below this may live, on any node.
  AttemptId WantedFloor() const {
    switch (state_.phase) {
      case RunPhase::kPlacing:
      case RunPhase::kVerifying:
      case RunPhase::kStarting:
      case RunPhase::kRunning:
        return state_.attempt;
      case RunPhase::kStopping:
      case RunPhase::kPaused:
      case RunPhase::kHalted:
      case RunPhase::kCompleted:
      case RunPhase::kStopped:
        return state_.attempt.Next();
    }
    return state_.attempt;
  }

  // The floor itself must stand on this node, not only the absence of ranks.
  bool NeedsFloor() const {
    if (assignment_ == nullptr) return false;
    switch (state_.phase) {
      case RunPhase::kVerifying:
      case RunPhase::kStarting:
        return assignment_->boot_id == facts_.state->boot_id;
      case RunPhase::kStopping:
        return assignment_->proof == StopProof::kNone;
      case RunPhase::kPlacing:
      case RunPhase::kRunning:
      case RunPhase::kPaused:
      case RunPhase::kHalted:
      case RunPhase::kCompleted:
      case RunPhase::kStopped:
        return false;
    }
    return false;
  }

  void DeriveStop() {
    const AttemptId floor = WantedFloor();
    const AttemptId has = run_ == nullptr ? kNoAttempt : run_->floor;
    const bool is_missing = NeedsFloor() && has < floor;
    if (!is_missing && !HasLiveRanksBelow(run_, floor)) return;
    StopCommand stop;
    stop.grace = Grace();
    Add("stop", floor, stop);
  }

  Duration Grace() const {
    if (state_.phase != RunPhase::kStopping) return Duration::zero();
    switch (state_.after_stop) {
      case AfterStop::kRestart:
      case AfterStop::kHalt:
        return context_.policy.timeouts.stop_grace;
      case AfterStop::kPause:
      case AfterStop::kEnd:
        return std::max(kOperatorGrace, context_.policy.timeouts.stop_grace);
    }
    return Duration::zero();
  }

  void DeriveVerify() {
    if (state_.resume_step == kNoStep) return;
    if (context_.verified.contains(facts_.node)) return;
    VerifyCommand verify;
    for (const RankStart& rank : Ranks()) {
      const CheckpointShard* shard = FindShard(rank.rank);
      if (shard == nullptr) continue;
      verify.shards.push_back(
          {rank.rank, shard->path, shard->size_bytes, shard->sha256});
    }
    // With the epoch in it: answers to an earlier life of this service may be
    // used up, so it asks again.
    Add(fmt::format("verify/{}.{}.{}", state_.resume_step.value,
                    state_.resume_attempt.value, context_.server_epoch),
        state_.attempt, std::move(verify));
  }

  void DeriveStart() {
    if (run_ == nullptr || run_->floor != state_.attempt) return;
    if (run_->started >= state_.attempt) return;
    if (HasLiveRanksBelow(run_, state_.attempt)) return;
    const RunSpec& spec = state_.spec;
    StartCommand start;
    start.argv = spec.argv;
    start.working_directory = spec.working_directory;
    start.environment = spec.environment;
    AddTrainingPlan(&start);
    start.ranks = Ranks();
    start.world_size = spec.WorldSize();
    start.node_rank = assignment_->node_rank;
    start.nodes = spec.nodes;
    start.master_address = state_.master_address;
    start.master_port = state_.master_port;
    start.checkpoint_directory = CheckpointDirectory(spec, state_.attempt);
    start.resume_step = state_.resume_step;
    start.target_steps = spec.target_steps;
    start.log_format = spec.log_format;
    start.log_path = spec.log_path;
    Add("start", state_.attempt, std::move(start));
  }

  // Read by the training-side libraries; nothing is set for a run that was
  // never rolled back for its training.
  void AddTrainingPlan(StartCommand* start) const {
    std::string skips;
    for (const StepRange& skip : state_.skips) {
      skips += fmt::format("{}{}-{}", skips.empty() ? "" : ",", skip.from.value,
                           skip.to.value);
    }
    if (!skips.empty()) start->environment[kSkipVariable] = skips;
    if (state_.learning_rate_factor != 1) {
      start->environment[kLearningRateVariable] =
          fmt::format("{:g}", state_.learning_rate_factor);
    }
  }

  void DeriveSave() {
    if (!state_.save_step.has_value()) return;
    if (context_.saved.contains(facts_.node)) return;
    if (run_ == nullptr || run_->started != state_.attempt) return;
    const bool is_read = std::all_of(
        run_->ranks.begin(), run_->ranks.end(), [this](const RankState& rank) {
          return rank.attempt != state_.attempt ||
                 rank.save_ack_seq >= state_.save_seq;
        });
    if (is_read) return;
    SaveCommand save;
    save.step = *state_.save_step;
    save.then_stop = state_.save_then_stop;
    save.save_seq = state_.save_seq;
    Add(fmt::format("save/{}", state_.save_seq), state_.attempt, save);
  }

  void DeriveForEnded() {
    if (run_ == nullptr) return;
    DeriveStop();
    if (!commands_.empty() || !context_.may_forget) return;
    // A rank of the last attempt that is still leaving keeps its files.
    if (HasLiveRanksBelow(run_, state_.attempt.Next())) return;
    Add("forget", state_.attempt, ForgetCommand{});
  }

  std::vector<RankStart> Ranks() const {
    std::vector<RankStart> ranks;
    const RankRange range = RanksOf(state_.spec, assignment_->node_rank);
    for (std::int32_t rank = range.first; rank < range.last; ++rank) {
      RankStart start;
      start.rank = Rank{rank};
      start.local_rank = rank - range.first;
      const CheckpointShard* shard = FindShard(start.rank);
      if (shard != nullptr) start.resume_path = shard->path;
      ranks.push_back(std::move(start));
    }
    return ranks;
  }

  const CheckpointShard* FindShard(Rank rank) const {
    if (state_.resume_step == kNoStep) return nullptr;
    auto it =
        context_.checkpoints.find({state_.resume_step, state_.resume_attempt});
    return it == context_.checkpoints.end() ? nullptr
                                            : ShardOf(it->second, rank);
  }

  void Add(std::string_view what, AttemptId attempt, CommandBody body) {
    Command command;
    command.command_id = fmt::format("{}/{}/{}/{}", state_.spec.run,
                                     attempt.value, what, facts_.node);
    command.server_epoch = context_.server_epoch;
    command.run = state_.spec.run;
    command.attempt = attempt;
    command.boot_id = facts_.state->boot_id;
    command.body = std::move(body);
    commands_.push_back(std::move(command));
  }

  const RunState& state_;
  const NodeFacts& facts_;
  const DerivationContext& context_;
  const NodeRunState* run_;
  const NodeAssignment* assignment_;
  std::vector<Command> commands_;
};

}  // namespace

std::vector<Command> DeriveCommands(const RunState& state,
                                    const NodeFacts& facts,
                                    const DerivationContext& context) {
  if (!facts.is_connected || facts.state == nullptr) return {};
  return Derivation(state, facts, context).Derive();
}

std::string CheckpointDirectory(const RunSpec& spec, AttemptId attempt) {
  if (spec.checkpoint_directory.empty()) return "";
  return fmt::format("{}/attempt-{}", spec.checkpoint_directory, attempt.value);
}

}  // namespace steadyrun
