#include "agent/core/agent_core.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "agent/core/impl.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

// An agent that lost its server beats at this pace when it is back.
constexpr Duration kDefaultInterval = std::chrono::milliseconds(500);
// Commands of one stream that wait for a write of the state. A server has a
// handful open per run; it sends again what is not taken.
constexpr std::size_t kMaxWaiting = 256;
constexpr AttemptId kEveryAttempt{std::numeric_limits<std::int64_t>::max()};

// Where to go on when the spool knows nothing: above all that may have been
// used; else right after what it holds.
ReportSeq FirstSeq(const DurableState& durable, ReportSeq last_spooled) {
  if (last_spooled.value > 0) return last_spooled.Next();
  return std::max(durable.next_seq, ReportSeq{1});
}

}  // namespace

AgentCore::Impl::Impl(CoreOptions options, DurableState durable,
                      std::vector<NodeRunState> survivors,
                      ReportSeq last_spooled, ReportSeq oldest_spooled, Now now)
    : options_(std::move(options)),
      boot_id_(options_.kernel_boot_id + ":" + durable.state_uuid),
      durable_(std::move(durable)),
      retry_write_at_(now.mono),
      next_seq_(FirstSeq(durable_, last_spooled)),
      oldest_(oldest_spooled.value > 0 ? oldest_spooled : next_seq_),
      acked_{oldest_.value - 1},
      now_(now) {
  for (const NodeRunState& run : survivors) {
    const DurableRun* known = FindRun(durable_, run.run);
    bool is_orphan = known == nullptr;
    for (const RankState& rank : run.ranks) {
      table_.Observe(run.run, rank, now.mono);
      if (known == nullptr || rank.attempt > known->started) is_orphan = true;
      // Its kill was ordered before, or will be now: the order is the reason
      // of its end unless the exit says otherwise.
      RankEntry* entry = table_.Find(run.run, rank.attempt, rank.rank);
      const bool is_fenced = known != nullptr && rank.attempt < known->floor;
      entry->kill_ordered = rank.killed_by_agent || is_fenced;
      entry->kill_grace = Duration{1};
    }
    if (is_orphan && table_.HasLive(run.run)) orphans_.push_back(run.run);
  }
}

Outcome AgentCore::Impl::Step(Event event, Now now) {
  now_ = now;
  out_ = {};
  std::visit([this](const auto& e) { On(e); }, event);
  RepeatKills();
  PersistWhatIsDue();
  BeatIfDue();
  return std::exchange(out_, {});
}

// --- The stream.

bool AgentCore::Impl::HasLiveOrphans() const {
  return std::ranges::any_of(
      orphans_, [this](const RunId& run) { return table_.HasLive(run); });
}

void AgentCore::Impl::RefuseStream(std::string reason) {
  Log("stream refused: " + reason);
  out_.effects.push_back(CloseStream{std::move(reason)});
  session_.is_open = false;
  session_.is_welcomed = false;
}

void AgentCore::Impl::On(const StreamOpened&) {
  session_ = Session{};
  session_.serial = ++sessions_;
  session_.is_open = true;
  session_.heartbeat_interval = kDefaultInterval;
  waiting_.clear();
  if (HasLiveOrphans()) {
    RefuseStream(
        "ranks of a lost state directory still live here; they are being "
        "killed first");
    return;
  }
  const bool is_spool_empty = oldest_ == next_seq_;
  out_.effects.push_back(
      SendHello{Hello{.state = State(now_),
                      .max_server_epoch = durable_.max_server_epoch,
                      .oldest_seq = is_spool_empty ? ReportSeq{0} : oldest_,
                      .token = options_.token}});
}

void AgentCore::Impl::On(const StreamClosed&) {
  session_.is_open = false;
  session_.is_welcomed = false;
  // The server derives its commands again; an old one must never be carried
  // out long after it was sent.
  waiting_.clear();
  if (Is(CoreMutation::kKillsRanksWhenServerIsLost)) {
    for (const RunId& run : table_.Runs()) {
      OrderKill(run, kEveryAttempt, Duration::zero());
    }
  }
}

void AgentCore::Impl::On(const WelcomeReceived& event) {
  if (!session_.is_open) return;
  const Welcome& welcome = event.welcome;
  const EpochVerdict verdict =
      JudgeEpoch(durable_, welcome.server_epoch, welcome.server_id);
  if (!Is(CoreMutation::kNoEpochCheck)) {
    if (verdict == EpochVerdict::kStale) {
      RefuseStream(fmt::format(
          "server epoch {} is older than {}, which this node has obeyed; "
          "a stale server must be stopped",
          welcome.server_epoch, durable_.max_server_epoch));
      return;
    }
    if (verdict == EpochVerdict::kForeign) {
      RefuseStream(fmt::format(
          "server {} has the epoch {} of server {}: two servers run on copies "
          "of one database; stop one and restart the other",
          welcome.server_id, welcome.server_epoch, durable_.server_id));
      return;
    }
  }
  session_.is_welcomed = true;
  session_.epoch = welcome.server_epoch;
  session_.server_id = welcome.server_id;
  if (welcome.heartbeat_interval > Duration::zero()) {
    session_.heartbeat_interval = welcome.heartbeat_interval;
  }
  session_.next_heartbeat = now_.mono + session_.heartbeat_interval;
  retry_write_at_ = now_.mono;  // A new epoch is persisted at once.
  ResumeReports(welcome.resume_after);
}

void AgentCore::Impl::On(const AckReceived& event) {
  if (!session_.is_welcomed || event.seq <= acked_) return;
  if (event.seq >= next_seq_) {
    Log(fmt::format("ack of report {} which was never sent; the newest is {}",
                    event.seq.value, next_seq_.value - 1));
    return;
  }
  acked_ = event.seq;
  oldest_ = std::max(oldest_, acked_.Next());
  out_.effects.push_back(DropReportsThrough{acked_});
}

void AgentCore::Impl::On(const CommandReceived& event) {
  const Command& command = event.command;
  const bool is_stale = !session_.is_welcomed ||
                        command.server_epoch != session_.epoch ||
                        command.server_epoch < durable_.max_server_epoch;
  if (is_stale && !Is(CoreMutation::kNoEpochCheck)) {
    // No answer: its id may equal that of the rightful server's command.
    Log(fmt::format("command {} of epoch {} dropped: not of this stream",
                    command.command_id, command.server_epoch));
    return;
  }
  Waiting waiting{command, session_.serial, now_.mono};
  if (!write_ && waiting_.empty()) {
    Consider(std::move(waiting));
    return;
  }
  const bool is_known =
      std::ranges::any_of(waiting_, [&command](const Waiting& other) {
        return other.command.command_id == command.command_id;
      });
  if (!is_known && waiting_.size() < kMaxWaiting) {
    waiting_.push_back(std::move(waiting));
  }
}

// --- The local processes.

void AgentCore::Impl::On(const RankSpawned& event) {
  RankEntry* entry = table_.Find(event.run, event.attempt, event.rank);
  if (entry != nullptr) entry->seen.pid = event.pid;
  is_beat_urgent_ = true;
  const auto it = starting_.find(event.run);
  if (it == starting_.end() || it->second.attempt != event.attempt) return;
  if (--it->second.unanswered > 0) return;
  Answer(it->second, CommandOutcome::kDone);
  starting_.erase(it);
}

void AgentCore::Impl::On(const RankSpawnFailed& event) {
  // 127: as a shell says it of a program that could not be run.
  if (RankEntry* entry = table_.Find(event.run, event.attempt, event.rank)) {
    entry->seen.life = RankLife::kExited;
    entry->seen.exit = {.code = 127};
  }
  is_beat_urgent_ = true;
  const auto it = starting_.find(event.run);
  if (it == starting_.end() || it->second.attempt != event.attempt) return;
  Answer(it->second, CommandOutcome::kFailed,
         fmt::format("rank {} could not be spawned: {}", event.rank.value,
                     event.error));
  starting_.erase(it);
}

void AgentCore::Impl::On(const RankGone& event) { ReportExit(event.exit); }

void AgentCore::Impl::On(const RankObserved& event) {
  RankEntry* entry =
      table_.Find(event.run, event.state.attempt, event.state.rank);
  if (entry == nullptr) return;
  const bool is_first_word = entry->seen.life == RankLife::kStarting &&
                             event.state.life == RankLife::kAlive;
  RankState seen = event.state;
  seen.life = event.state.life == RankLife::kExited ? entry->seen.life
                                                    : event.state.life;
  table_.Observe(event.run, seen, now_.mono);
  if (is_first_word) is_beat_urgent_ = true;
}

void AgentCore::Impl::On(const StepsRead& event) { Append(event.block); }
void AgentCore::Impl::On(const ShardHashed& event) { Append(event.shard); }
void AgentCore::Impl::On(const ShardFoundBad& event) { Append(event.bad); }
void AgentCore::Impl::On(const RankSaidFinished& event) {
  Append(event.finished);
}

void AgentCore::Impl::On(const SaveWordWritten& event) {
  if (!answers_.End(event.command_id)) return;
  CommandOutcome outcome = CommandOutcome::kDone;
  if (!event.error.empty()) outcome = CommandOutcome::kFailed;
  if (event.is_missed) outcome = CommandOutcome::kMissed;
  Answer(event, outcome, event.error);
}

void AgentCore::Impl::On(const ShardsVerified& event) {
  if (!answers_.End(event.command_id)) return;
  CommandResult result;
  result.command_id = event.command_id;
  result.run = event.run;
  result.attempt = event.attempt;
  result.checks = event.checks;
  Answer(std::move(result));
}

// --- The disk.

void AgentCore::Impl::On(const StatePersisted& event) {
  if (!write_ || write_->ticket != event.ticket) return;
  Write done = *std::exchange(write_, std::nullopt);
  if (done.state.runs != durable_.runs) is_beat_urgent_ = true;
  durable_ = std::move(done.state);
  if (done.cause) Perform(*done.cause);
  ConsiderWaiting();
}

void AgentCore::Impl::On(const StatePersistFailed& event) {
  if (!write_ || write_->ticket != event.ticket) return;
  const Write failed = *std::exchange(write_, std::nullopt);
  retry_write_at_ = now_.mono + std::chrono::seconds(5);
  const std::string why =
      fmt::format("state disk: {}; free space in the agent's state directory",
                  std::string(event.status.message()));
  Log(why);
  if (failed.cause && IsCurrent(*failed.cause)) {
    // Only the epoch was to be written for a Save or a Verify: that says
    // nothing about a checkpoint, so that they are to be asked again.
    const CommandBody& body = failed.cause->command.body;
    const bool is_fenced = std::holds_alternative<StopCommand>(body) ||
                           std::holds_alternative<StartCommand>(body);
    Answer(failed.cause->command,
           is_fenced ? CommandOutcome::kFailed : CommandOutcome::kBusy, why);
  }
  ConsiderWaiting();
}

void AgentCore::Impl::On(const SpoolStateChanged& event) {
  if (event.is_full != spool_.is_full) is_beat_urgent_ = true;
  spool_ = event;
}

void AgentCore::Impl::On(const Ticked&) {}

void AgentCore::Impl::SetRendezvousPort(std::int32_t port) {
  if (port == rendezvous_port_) return;
  rendezvous_port_ = port;
  is_beat_urgent_ = true;
}

// --- The public face.

AgentCore::AgentCore(CoreOptions options, DurableState durable,
                     std::vector<NodeRunState> survivors,
                     ReportSeq last_spooled, ReportSeq oldest_spooled, Now now)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(durable),
                                   std::move(survivors), last_spooled,
                                   oldest_spooled, now)) {}

AgentCore::~AgentCore() = default;

Outcome AgentCore::Step(Event event, Now now) {
  return impl_->Step(std::move(event), now);
}

void AgentCore::SetRendezvousPort(std::int32_t port) {
  impl_->SetRendezvousPort(port);
}

NodeState AgentCore::State(Now now) const { return impl_->State(now); }

}  // namespace steadyrun::agent
