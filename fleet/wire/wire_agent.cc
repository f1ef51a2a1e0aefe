#include "fleet/wire/wire_agent.h"

#include <algorithm>
#include <type_traits>

#include "base/backoff.h"
#include "base/version.h"
#include "fleet/sim/random.h"
#include "proto/messages/convert.h"
#include "spdlog/fmt/fmt.h"
#include "spdlog/spdlog.h"

namespace steadyrun::fleet {
namespace {

constexpr BackoffOptions kBackoff{std::chrono::milliseconds(100),
                                  std::chrono::seconds(2), 2.0};

bool IsSteps(const agent::Event& event) {
  return std::holds_alternative<agent::StepsRead>(event);
}

}  // namespace

WireAgent::WireAgent(WireAgentOptions options, Machines* machines,
                     v1::AgentService::Stub* stub,
                     std::shared_ptr<agent::LinkInbox> inbox)
    : options_(std::move(options)),
      machines_(machines),
      stub_(stub),
      inbox_(std::move(inbox)) {
  disk_.state_uuid = fmt::format("simulated-{:016x}", options_.seed);
}

void WireAgent::Start(std::vector<NodeRunState> survivors, Now now) {
  ++lives_;
  agent::CoreOptions core;
  core.node = options_.name;
  core.kernel_boot_id = fmt::format("boot-{:016x}-{}", options_.seed, boots_);
  core.address = "127.0.0.1";
  core.agent_pid = static_cast<std::int32_t>(lives_);
  core.incarnation = Incarnation{Random(options_.seed, lives_).Next()};
  core.version = kVersion;
  core.token = options_.token;
  const ReportSeq oldest = spool_.empty() ? ReportSeq{0} : spool_.front().seq;
  core_ = std::make_unique<agent::AgentCore>(
      std::move(core), disk_, std::move(survivors), last_spooled_, oldest, now);
  core_->SetRendezvousPort(20000 + options_.index % 10000);
  next_try_ = now.mono;
  failures_ = 0;
  for (agent::Event& event : std::exchange(kept_, {})) {
    Step(std::move(event), now);
  }
}

void WireAgent::Crash() {
  core_.reset();
  answers_.clear();
  hello_.reset();
  heartbeat_.reset();
  is_welcome_ = false;
  if (stream_ == nullptr) return;
  stream_->Cancel();
  cancelled_ = std::exchange(stream_, nullptr);
}

void WireAgent::Stop() {
  Crash();
  if (cancelled_ != nullptr) cancelled_->WaitUntilDone(absl::Seconds(5));
}

void WireAgent::Tell(agent::Event event, Now now) {
  if (IsRunning()) {
    Step(std::move(event), now);
    return;
  }
  // What only tells of now is seen again when the agent is back.
  if (std::holds_alternative<agent::RankObserved>(event)) return;
  if (kept_.size() >= kMaxKept) {
    const auto oldest = std::ranges::find_if(kept_, IsSteps);
    if (oldest != kept_.end()) kept_.erase(oldest);
  }
  kept_.push_back(std::move(event));
}

void WireAgent::Step(agent::Event event, Now now) {
  answers_.push_back(std::move(event));
  // Answers may come within an effect; they are taken in turn.
  static constexpr int kMostTurns = 10'000;
  for (int turn = 0; turn < kMostTurns && !answers_.empty(); ++turn) {
    agent::Event next = std::move(answers_.front());
    answers_.pop_front();
    const agent::Outcome outcome = core_->Step(std::move(next), now);
    for (const std::string& line : outcome.log) {
      spdlog::debug("{}: {}", options_.name, line);
    }
    for (const agent::Effect& effect : outcome.effects) Perform(effect, now);
  }
}

void WireAgent::Perform(const agent::Effect& effect, Now) {
  std::visit(
      [this](const auto& e) {
        using T = std::decay_t<decltype(e)>;
        if constexpr (std::is_same_v<T, agent::PersistState>) {
          disk_ = e.state;
          answers_.push_back(agent::StatePersisted{e.ticket});
        } else if constexpr (std::is_same_v<T, agent::SpawnRank>) {
          machines_->Spawn(options_.index, e);
          answers_.push_back(
              agent::RankSpawned{e.run, e.attempt, e.start.ranks.front().rank,
                                 1000 + e.start.ranks.front().rank.value});
        } else if constexpr (std::is_same_v<T, agent::KillRanks>) {
          machines_->Kill(options_.index, e);
        } else if constexpr (std::is_same_v<T, agent::WriteSaveWord>) {
          const bool in_time = machines_->OrderSave(e);
          if (in_time) save_seq_ = std::max(save_seq_, e.save.save_seq);
          answers_.push_back(agent::SaveWordWritten{e.command_id, e.run,
                                                    e.attempt, !in_time, ""});
        } else if constexpr (std::is_same_v<T, agent::VerifyShards>) {
          agent::ShardsVerified done{e.command_id, e.run, e.attempt, {}};
          for (const ShardRef& shard : e.verify.shards) {
            done.checks.push_back({shard.rank, shard.path, true, ""});
          }
          answers_.push_back(std::move(done));
        } else if constexpr (std::is_same_v<T, agent::AppendReport>) {
          Append(e.report);
        } else if constexpr (std::is_same_v<T, agent::DropReportsThrough>) {
          while (!spool_.empty() && spool_.front().seq <= e.seq) {
            spool_.pop_front();
          }
        } else if constexpr (std::is_same_v<T, agent::SendHello>) {
          hello_ = e.hello;
        } else if constexpr (std::is_same_v<T, agent::SendReportsFrom>) {
          sent_through_ = e.after;
          is_welcome_ = true;
          failures_ = 0;
        } else if constexpr (std::is_same_v<T, agent::SendHeartbeat>) {
          heartbeat_ = e.state;
        } else if constexpr (std::is_same_v<T, agent::CloseStream>) {
          spdlog::warn("{}: closes its stream: {}", options_.name, e.reason);
          if (stream_ != nullptr) stream_->Cancel();
        } else {
          static_assert(std::is_same_v<T, agent::RemoveRunFiles>);
          machines_->Forget(options_.index);
        }
      },
      effect);
}

void WireAgent::Append(Report report) {
  if (spool_.size() >= kMaxKept) {
    const auto oldest = std::ranges::find_if(
        spool_, [](const Report& old) { return IsTelemetry(old.body); });
    if (oldest != spool_.end()) {
      spool_.erase(oldest);
      ++dropped_;
    }
  }
  last_spooled_ = report.seq;
  spool_.push_back(std::move(report));
}

void WireAgent::Connect(Now now) {
  // The index is in the id: the inbox is shared by all agents.
  const std::uint64_t id =
      (++streams_ << 32) | static_cast<std::uint64_t>(options_.index);
  stream_ = agent::ServerStream::Open(stub_, id, inbox_);
  Step(agent::StreamOpened{}, now);
}

void WireAgent::OnLink(std::uint64_t stream, agent::LinkEvent event, Now now) {
  if (stream_ == nullptr || stream_->id() != stream || !IsRunning()) return;
  if (auto* message = std::get_if<agent::LinkMessage>(&event)) {
    if (message->welcome) {
      Step(agent::WelcomeReceived{*message->welcome}, now);
    }
    if (message->ack.value > 0) Step(agent::AckReceived{message->ack}, now);
    for (Command& command : message->commands) {
      Step(agent::CommandReceived{std::move(command)}, now);
    }
  } else if (auto* closed = std::get_if<agent::LinkClosed>(&event)) {
    if (!closed->status.ok() && failures_ == 0) {
      spdlog::info("{}: stream ended: {}", options_.name,
                   std::string(closed->status.message()));
    }
    stream_.reset();
    is_welcome_ = false;
    hello_.reset();
    heartbeat_.reset();
    const std::uint64_t random = Random(options_.seed, 7, streams_).Next();
    next_try_ = now.mono + BackoffDelay(kBackoff, failures_++, random);
    Step(agent::StreamClosed{std::string(closed->status.message())}, now);
  }
  Flush();
}

void WireAgent::Poll(Now now) {
  if (!IsRunning()) return;
  if (stream_ == nullptr) {
    if (now.mono >= next_try_) Connect(now);
  } else {
    Step(agent::Ticked{}, now);
  }
  Flush();
}

void WireAgent::Flush() {
  if (stream_ == nullptr || !stream_->CanWrite()) return;
  v1::AgentMessage message;
  if (hello_) {
    ToProto(*hello_, message.mutable_hello());
    hello_.reset();
    stream_->Write(std::move(message));
    return;
  }
  if (!is_welcome_) return;
  bool has_words = false;
  if (heartbeat_) {
    ToProto(*heartbeat_, message.mutable_heartbeat());
    heartbeat_.reset();
    has_words = true;
  }
  const auto first =
      std::ranges::upper_bound(spool_, sent_through_, {}, &Report::seq);
  std::size_t count = 0;
  for (auto it = first; it != spool_.end() && count < kReportsPerMessage;
       ++it, ++count) {
    ToProto(*it, message.add_reports());
    sent_through_ = it->seq;
  }
  if (has_words || count > 0) stream_->Write(std::move(message));
}

}  // namespace steadyrun::fleet
