#include "tests/unit/agent_core/core_rig.h"

#include <gtest/gtest.h>

#include <utility>

#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {

CoreOptions CoreRig::DefaultOptions() {
  CoreOptions options;
  options.node = "node-1";
  options.kernel_boot_id = "kernel-1";
  options.address = "10.0.0.1";
  options.agent_pid = 42;
  options.incarnation = Incarnation{7};
  options.version = "0.1.0";
  return options;
}

DurableState CoreRig::FreshState() {
  DurableState state;
  state.state_uuid = "uuid-1";
  return state;
}

CoreRig::CoreRig(CoreOptions options, DurableState durable,
                 std::vector<NodeRunState> survivors, ReportSeq last_spooled,
                 ReportSeq oldest_spooled)
    : disk(durable),
      core_(std::make_unique<AgentCore>(std::move(options), std::move(durable),
                                        std::move(survivors), last_spooled,
                                        oldest_spooled, now_)) {}

void CoreRig::Step(Event event) {
  Outcome outcome = core_->Step(std::move(event), now_);
  for (Effect& effect : outcome.effects) {
    if (const auto* write = std::get_if<PersistState>(&effect)) {
      writes.push_back(*write);
    }
    effects.push_back(std::move(effect));
  }
  for (std::string& line : outcome.log) log.push_back(std::move(line));
}

void CoreRig::Persist() {
  ASSERT_FALSE(writes.empty()) << "nothing is being persisted";
  disk = writes.front().state;
  const std::uint64_t ticket = writes.front().ticket;
  writes.pop_front();
  Step(StatePersisted{ticket});
}

void CoreRig::FailPersist() {
  ASSERT_FALSE(writes.empty()) << "nothing is being persisted";
  const std::uint64_t ticket = writes.front().ticket;
  writes.pop_front();
  Step(StatePersistFailed{
      ticket, absl::ResourceExhaustedError("No space left on device")});
}

void CoreRig::PersistAll() {
  while (!writes.empty()) Persist();
}

void CoreRig::Connect(std::uint64_t epoch, const std::string& server,
                      ReportSeq resume_after) {
  epoch_ = epoch;
  Step(StreamOpened{});
  Welcome welcome;
  welcome.server_epoch = epoch;
  welcome.server_id = server;
  welcome.resume_after = resume_after;
  Step(WelcomeReceived{welcome});
  PersistAll();
}

void CoreRig::StartRun(int ranks, AttemptId attempt) {
  Connect();
  Send(Stop(attempt));
  PersistAll();
  Send(Start(attempt, ranks));
  PersistAll();
  for (int rank = 0; rank < ranks; ++rank) Spawned(attempt, rank);
  Clear();
}

void CoreRig::Spawned(AttemptId attempt, int rank) {
  Step(RankSpawned{"run", attempt, Rank{rank}, 100 + rank});
}

void CoreRig::Gone(AttemptId attempt, int rank, ExitStatus exit) {
  RankExited gone;
  gone.run = "run";
  gone.attempt = attempt;
  gone.rank = Rank{rank};
  gone.exit = exit;
  Step(RankGone{gone});
}

void CoreRig::Observe(AttemptId attempt, int rank, std::int64_t step) {
  RankState state;
  state.rank = Rank{rank};
  state.attempt = attempt;
  state.life = RankLife::kAlive;
  state.step = steadyrun::Step{step};
  Step(RankObserved{"run", state});
}

namespace {

Command Make(std::string_view name, std::uint64_t epoch, AttemptId attempt,
             std::string boot_id, CommandBody body) {
  Command command;
  command.command_id = fmt::format("run/{}/{}/node-1", attempt.value, name);
  command.server_epoch = epoch;
  command.run = "run";
  command.attempt = attempt;
  command.boot_id = std::move(boot_id);
  command.body = std::move(body);
  return command;
}

}  // namespace

Command CoreRig::Stop(AttemptId attempt, Duration grace) const {
  return Make("stop", epoch_, attempt, boot_id(), StopCommand{grace});
}

Command CoreRig::Start(AttemptId attempt, int ranks) const {
  StartCommand start;
  start.argv = {"/usr/bin/python3", "train.py"};
  start.world_size = ranks;
  start.nodes = 1;
  for (int rank = 0; rank < ranks; ++rank) {
    start.ranks.push_back({Rank{rank}, rank, ""});
  }
  return Make("start", epoch_, attempt, boot_id(), start);
}

Command CoreRig::Save(std::int64_t step, std::uint64_t save_seq,
                      AttemptId attempt) const {
  SaveCommand save;
  save.step = steadyrun::Step{step};
  save.save_seq = save_seq;
  return Make(fmt::format("save/{}", save_seq), epoch_, attempt, boot_id(),
              save);
}

Command CoreRig::Verify(AttemptId attempt) const {
  VerifyCommand verify;
  verify.shards.push_back({Rank{0}, "/ckpt/rank-0", 10, "ab"});
  return Make("verify/10", epoch_, attempt, boot_id(), verify);
}

Command CoreRig::Forget(AttemptId attempt) const {
  return Make("forget", epoch_, attempt, boot_id(), ForgetCommand{});
}

std::vector<CommandOutcome> CoreRig::Outcomes() const {
  std::vector<CommandOutcome> outcomes;
  for (const CommandResult& result : Reports<CommandResult>()) {
    outcomes.push_back(result.outcome);
  }
  return outcomes;
}

}  // namespace steadyrun::agent
