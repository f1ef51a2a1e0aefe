// What the server orders: judged, persisted, then done.

#include <algorithm>
#include <chrono>
#include <limits>
#include <type_traits>
#include <utility>

#include "agent/core/impl.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// A write of the state takes milliseconds, seconds beside a checkpoint that is
// being written. A Start that waited longer for it may have been given up by
// the server, so it is not carried out.
constexpr Duration kMaxStartAge = std::chrono::seconds(30);
// Until all are gone, a kill order is repeated at this pace.
constexpr Duration kRepeatKillAfter = std::chrono::seconds(1);
// Room persisted ahead for report numbers: hours of reports, so that it costs
// one write now and then.
constexpr std::uint64_t kSeqReserve = 1 << 20;
// Saves and verifications under way at a time.
constexpr std::size_t kMaxPending = 64;
constexpr AttemptId kEveryAttempt{std::numeric_limits<std::int64_t>::max()};

// A verification may come again for other shards, when the ranks were placed
// anew: then it is another question.
bool IsAnswerTo(const CommandResult& result, const Command& command) {
  const auto* verify = std::get_if<VerifyCommand>(&command.body);
  if (verify == nullptr) return true;
  return std::ranges::equal(verify->shards, result.checks,
                            [](const ShardRef& shard, const ShardCheck& check) {
                              return shard.rank == check.rank &&
                                     shard.path == check.path;
                            });
}

}  // namespace

bool AgentCore::Impl::IsCurrent(const Waiting& waiting) const {
  return session_.is_welcomed && waiting.session == session_.serial;
}

void AgentCore::Impl::ConsiderWaiting() {
  while (!write_ && !waiting_.empty()) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    Consider(std::move(next));
  }
}

void AgentCore::Impl::Consider(Waiting waiting) {
  if (!IsCurrent(waiting) && !Is(CoreMutation::kNoEpochCheck)) return;
  const Command& command = waiting.command;
  if (answers_.IsPending(command.command_id)) return;
  if (const CommandResult* before = answers_.Final(command.command_id);
      before != nullptr && IsAnswerTo(*before, command)) {
    Answer(*before);
    return;
  }
  DurableState state = durable_;
  const EpochVerdict verdict =
      JudgeEpoch(state, session_.epoch, session_.server_id);
  if (verdict == EpochVerdict::kRaise) {
    state.max_server_epoch = session_.epoch;
    state.server_id = session_.server_id;
  }
  if (const auto refusal = Plan(command, state)) {
    if (refusal->outcome != CommandOutcome::kDone ||
        !refusal->message.empty()) {
      Answer(command, refusal->outcome, refusal->message);
    }
    return;
  }
  if (state == durable_) {
    Perform(waiting);
    return;
  }
  if ((Is(CoreMutation::kKillBeforeFencePersisted) &&
       std::holds_alternative<StopCommand>(command.body)) ||
      (Is(CoreMutation::kSpawnBeforeStartedPersisted) &&
       std::holds_alternative<StartCommand>(command.body))) {
    Perform(waiting);
    Persist(std::move(state), std::nullopt);
    return;
  }
  Persist(std::move(state), std::move(waiting));
}

std::optional<AgentCore::Impl::Refusal> AgentCore::Impl::Plan(
    const Command& command, DurableState& state) {
  return std::visit(
      [&](const auto& body) -> std::optional<Refusal> {
        using Body = std::decay_t<decltype(body)>;
        if constexpr (std::is_same_v<Body, StopCommand>) {
          return PlanStop(command, state);
        } else if constexpr (std::is_same_v<Body, StartCommand>) {
          return PlanStart(command, body, state);
        } else if constexpr (std::is_same_v<Body, SaveCommand>) {
          return PlanSave(command, body);
        } else if constexpr (std::is_same_v<Body, VerifyCommand>) {
          if (answers_.Pending() < kMaxPending) return std::nullopt;
          return Refusal{CommandOutcome::kBusy, "too many checks under way"};
        } else {
          return PlanForget(command, state);
        }
      },
      command.body);
}

std::optional<AgentCore::Impl::Refusal> AgentCore::Impl::PlanStop(
    const Command& command, DurableState& state) {
  const DurableRun* known = FindRun(state, command.run);
  const bool is_shown = known != nullptr && known->forgotten_epoch == 0;
  if (!is_shown && CountRemembered(state) >= kMaxRuns) {
    return Refusal{
        CommandOutcome::kRefused,
        fmt::format("this node remembers {} runs already; forget ended ones",
                    kMaxRuns)};
  }
  DurableRun& run = RunOf(state, command.run);
  run.forgotten_epoch = 0;
  run.floor = std::max(run.floor, command.attempt);
  return std::nullopt;
}

std::optional<AgentCore::Impl::Refusal> AgentCore::Impl::PlanStart(
    const Command& command, const StartCommand& start, DurableState& state) {
  if (command.boot_id != boot_id_ && !Is(CoreMutation::kNoBootCheck)) {
    return Refusal{CommandOutcome::kBootMismatch,
                   fmt::format("meant for boot {}, this is boot {}",
                               command.boot_id, boot_id_)};
  }
  const bool has_older = table_.HasLiveBelow(command.run, command.attempt) &&
                         !Is(CoreMutation::kStartsBesideOlderAttempt);
  switch (JudgeStart(state, command.run, command.attempt)) {
    case StartVerdict::kBelowFloor:
      return Refusal{
          CommandOutcome::kStaleAttempt,
          fmt::format("attempt {} is below the floor {}", command.attempt.value,
                      RunOf(state, command.run).floor.value)};
    case StartVerdict::kAboveFloor:
      return Refusal{CommandOutcome::kBusy,
                     fmt::format("attempt {} is not fenced in here yet: send "
                                 "its Stop first",
                                 command.attempt.value)};
    case StartVerdict::kStartedAlready:
      return JudgeRepeatedStart(command, start);
    case StartVerdict::kStart:
      break;
  }
  if (has_older) {
    return Refusal{CommandOutcome::kBusy,
                   "ranks of an older attempt still live here"};
  }
  if (start.ranks.empty() || start.argv.empty()) {
    return Refusal{CommandOutcome::kFailed, "a start without ranks or argv"};
  }
  if (!MayLaunch(start)) {
    return Refusal{
        CommandOutcome::kRefused,
        fmt::format("this agent may not launch \"{}\": add it to launch.allow "
                    "in its configuration",
                    start.argv.front())};
  }
  DurableRun& run = RunOf(state, command.run);
  run.started = command.attempt;
  run.forgotten_epoch = 0;
  return std::nullopt;
}

// The start was recorded before. An outcome of kDone without a message means:
// nothing to say now.
AgentCore::Impl::Refusal AgentCore::Impl::JudgeRepeatedStart(
    const Command& command, const StartCommand& start) {
  const auto it = starting_.find(command.run);
  if (it != starting_.end() && it->second.attempt == command.attempt) {
    return {CommandOutcome::kDone, ""};
  }
  std::string missing;
  for (const RankStart& rank : start.ranks) {
    if (table_.Find(command.run, command.attempt, rank.rank) == nullptr) {
      missing += fmt::format(" {}", rank.rank.value);
    }
  }
  if (missing.empty()) return {CommandOutcome::kDone, "started before"};
  return {CommandOutcome::kFailed,
          fmt::format("attempt {} was started here once and never is again; "
                      "ranks that did not come up:{}",
                      command.attempt.value, missing)};
}

std::optional<AgentCore::Impl::Refusal> AgentCore::Impl::PlanSave(
    const Command& command, const SaveCommand& save) const {
  const DurableRun* run = FindRun(durable_, command.run);
  if (run == nullptr || command.attempt != run->started ||
      command.attempt < run->floor) {
    return Refusal{
        CommandOutcome::kStaleAttempt,
        fmt::format("attempt {} does not run here", command.attempt.value)};
  }
  const auto live = table_.LiveOf(command.run, command.attempt);
  if (live.empty()) {
    return Refusal{CommandOutcome::kFailed, "no rank of it is alive here"};
  }
  for (const RankEntry* entry : live) {
    if (entry->seen.step < save.step) continue;
    return Refusal{CommandOutcome::kMissed,
                   fmt::format("rank {} has done step {} already",
                               entry->seen.rank.value, entry->seen.step.value)};
  }
  if (answers_.Pending() < kMaxPending) return std::nullopt;
  return Refusal{CommandOutcome::kBusy, "too many saves under way"};
}

std::optional<AgentCore::Impl::Refusal> AgentCore::Impl::PlanForget(
    const Command& command, DurableState& state) const {
  const DurableRun* known = FindRun(state, command.run);
  if (known == nullptr || known->forgotten_epoch > 0 ||
      table_.HasLive(command.run)) {
    return Refusal{CommandOutcome::kDone, ""};  // Nothing to forget, or alive.
  }
  ForgetRun(state, command.run, session_.epoch);
  return std::nullopt;
}

bool AgentCore::Impl::MayLaunch(const StartCommand& start) const {
  if (!options_.launch_allow) return true;
  const std::string& program = start.argv.front();
  return std::ranges::any_of(*options_.launch_allow,
                             [&program](const std::string& allowed) {
                               if (!allowed.ends_with('/'))
                                 return program == allowed;
                               return program.starts_with(allowed) &&
                                      program.find("/../") == std::string::npos;
                             });
}

void AgentCore::Impl::Persist(DurableState state,
                              std::optional<Waiting> cause) {
  state.next_seq =
      std::max(state.next_seq, ReportSeq{next_seq_.value + kSeqReserve});
  write_ = Write{next_ticket_++, std::move(state), std::move(cause)};
  out_.effects.push_back(PersistState{write_->ticket, write_->state});
}

// A new epoch, and room for report numbers, wait for no command.
void AgentCore::Impl::PersistWhatIsDue() {
  if (write_ || now_.mono < retry_write_at_) return;
  const bool is_epoch_new =
      session_.is_welcomed && session_.epoch > durable_.max_server_epoch;
  const bool is_room_short =
      next_seq_.value + kSeqReserve / 2 > durable_.next_seq.value;
  if (!is_epoch_new && !is_room_short) return;
  DurableState state = durable_;
  if (is_epoch_new) {
    state.max_server_epoch = session_.epoch;
    state.server_id = session_.server_id;
  }
  Persist(std::move(state), std::nullopt);
}

void AgentCore::Impl::Perform(const Waiting& waiting) {
  const Command& command = waiting.command;
  if (const auto* stop = std::get_if<StopCommand>(&command.body)) {
    // Also when the stream is gone: the floor is on disk.
    OrderKill(command.run, command.attempt, stop->grace);
    return;
  }
  const bool is_fresh =
      IsCurrent(waiting) && now_.mono - waiting.received <= kMaxStartAge;
  if (const auto* start = std::get_if<StartCommand>(&command.body)) {
    if (is_fresh || Is(CoreMutation::kNoEpochCheck)) {
      Spawn(command, *start);
    } else {
      Answer(command, CommandOutcome::kFailed,
             "the start was recorded, but its stream ended or the state disk "
             "took too long; it is not carried out");
    }
    return;
  }
  if (std::holds_alternative<ForgetCommand>(command.body)) {
    table_.Erase(command.run);
    kills_.erase(command.run);
    starting_.erase(command.run);
    out_.effects.push_back(RemoveRunFiles{command.run});
    return;
  }
  if (!is_fresh) return;
  answers_.Begin(command.command_id);
  if (const auto* save = std::get_if<SaveCommand>(&command.body)) {
    out_.effects.push_back(
        WriteSaveWord{command.command_id, command.run, command.attempt, *save});
  } else if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
    out_.effects.push_back(VerifyShards{command.command_id, command.run,
                                        command.attempt, *verify});
  }
}

void AgentCore::Impl::Spawn(const Command& command, const StartCommand& start) {
  table_.PruneBelow(command.run, command.attempt);
  starting_[command.run] = {command.command_id, command.run, command.attempt,
                            start.ranks.size()};
  for (const RankStart& rank : start.ranks) {
    // Counted as alive from here on: nothing else may start beside it.
    RankState seen;
    seen.rank = rank.rank;
    seen.local_rank = rank.local_rank;
    seen.attempt = command.attempt;
    table_.Observe(command.run, seen, now_.mono);
    SpawnRank effect{command.run, command.attempt, start,
                     static_cast<std::int32_t>(start.ranks.size())};
    effect.start.ranks = {rank};
    out_.effects.push_back(std::move(effect));
  }
  Log(fmt::format("run {} attempt {}: start of {} ranks", command.run,
                  command.attempt.value, start.ranks.size()));
}

void AgentCore::Impl::OrderKill(const RunId& run, AttemptId below,
                                Duration grace) {
  const std::vector<RankEntry*> live = table_.LiveBelow(run, below);
  if (live.empty()) return;
  KillOrder order{below, now_.mono + grace, now_.mono};
  if (const auto it = kills_.find(run); it != kills_.end()) {
    // A repetition never gives more time than the first order did.
    if (it->second.below >= below) {
      if (order.kill_at >= it->second.kill_at) return;
      order.below = it->second.below;
    }
    order.kill_at = std::min(order.kill_at, it->second.kill_at);
  } else {
    Log(fmt::format("run {}: kill of {} ranks below attempt {}", run,
                    live.size(), below.value));
  }
  for (RankEntry* entry : live) {
    entry->kill_ordered = true;
    entry->kill_grace = std::max(entry->kill_grace, grace);
  }
  kills_[run] = order;
  out_.effects.push_back(KillRanks{
      run, order.below, std::max(Duration::zero(), order.kill_at - now_.mono)});
}

// Level-triggered: whatever lives below the floor is killed, also after a
// restart of the agent, until it is gone.
void AgentCore::Impl::RepeatKills() {
  // Once they are gone the name is free: what starts under it next is ordered.
  std::erase_if(orphans_,
                [this](const RunId& run) { return !table_.HasLive(run); });
  for (const RunId& run : orphans_) {
    if (!kills_.contains(run)) OrderKill(run, kEveryAttempt, Duration::zero());
  }
  for (const DurableRun& run : durable_.runs) {
    if (!kills_.contains(run.run)) {
      OrderKill(run.run, run.floor, Duration::zero());
    }
  }
  for (auto it = kills_.begin(); it != kills_.end();) {
    auto& [run, order] = *it;
    if (!table_.HasLiveBelow(run, order.below)) {
      it = kills_.erase(it);
      continue;
    }
    if (now_.mono - order.ordered_at >= kRepeatKillAfter) {
      order.ordered_at = now_.mono;
      out_.effects.push_back(
          KillRanks{run, order.below,
                    std::max(Duration::zero(), order.kill_at - now_.mono)});
    }
    ++it;
  }
}

}  // namespace steadyrun::agent
