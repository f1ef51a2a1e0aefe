#include "agent/app/agent_loop.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "agent/app/footprint.h"
#include "base/check.h"
#include "base/file.h"
#include "base/logging.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// The core's deadlines are checked at this pace.
constexpr Duration kTickInterval = milliseconds(100);
// Flight recorders are read at a tenth of the time between steps, so that
// a step is told of with little delay and long steps cost little.
constexpr Duration kMinPoll = milliseconds(5);
constexpr Duration kMaxPoll = milliseconds(20);
constexpr int kPollsPerStep = 10;
// Without a rank nothing happens here that is not announced.
constexpr Duration kIdlePoll = milliseconds(100);
constexpr Duration kMetricsInterval = seconds(10);
// What is scraped is at most so old.
constexpr Duration kServedMetricsInterval = seconds(1);
constexpr Duration kTrimInterval = seconds(10);
constexpr Duration kFirstTrim = seconds(3);
// An agent that was stopped (SIGSTOP, a frozen machine) for longer finds
// orders in its socket that may be long out of date.
constexpr Duration kStoodStill = seconds(3);
// A turn that took longer is worth a line: something held the loop up.
constexpr Duration kSlowTurn = seconds(1);

}  // namespace

AgentLoop::~AgentLoop() {
  link_->Stop();
  shards_.reset();
  disk_.reset();  // Stores what was still under way.
}

void AgentLoop::Run(int stop_fd) {
  while (!is_stopping_) {
    Wait(stop_fd);
    Turn();
  }
  Log({"stopped; ranks go on"});
}

Duration AgentLoop::WaitTime(MonoTime now) const {
  Duration wait = std::min(next_tick_ - now, link_->PollInterval());
  if (ranks_->HasLive()) {
    wait = std::min(wait,
                    std::clamp(step_gap_ / kPollsPerStep, kMinPoll, kMaxPoll));
  }
  return std::clamp(wait, Duration{milliseconds(1)}, kIdlePoll);
}

void AgentLoop::Wait(int stop_fd) {
  std::array<pollfd, 5> fds{{{stop_fd, POLLIN, 0},
                             {link_->fd(), POLLIN, 0},
                             {disk_->fd(), POLLIN, 0},
                             {shards_->fd(), POLLIN, 0},
                             {ranks_->PollFd(), POLLIN, 0}}};
  const MonoTime now = clock_.MonoNow();
  const Duration spent = now - turn_started_;
  metrics_.slowest_turn_seconds =
      std::max(metrics_.slowest_turn_seconds, ToSeconds(spent));
  if (spent > kSlowTurn && turn_started_ != MonoTime{}) {
    spdlog::warn("a turn of the loop took long {}",
                 Kv("seconds", fmt::format("{:.3f}", ToSeconds(spent))));
  }
  const auto wait = std::chrono::ceil<milliseconds>(WaitTime(now));
  ::poll(fds.data(), fds.size(), static_cast<int>(wait.count()));
  turn_started_ = clock_.MonoNow();
  if ((fds[0].revents & POLLIN) != 0) is_stopping_ = true;
  ready_ = {.link = (fds[1].revents & POLLIN) != 0,
            .disk = (fds[2].revents & POLLIN) != 0,
            .shards = (fds[3].revents & POLLIN) != 0,
            .ranks = (fds[4].revents & POLLIN) != 0};
}

// Orders are for now. What waited in the socket while this process stood still
// is left there: the server derives it again for a new stream, if it still
// holds.
void AgentLoop::NoticeStandstill() {
  const Duration gap = now_.mono - std::exchange(last_turn_, now_.mono);
  if (gap < kStoodStill || gap == now_.mono.time_since_epoch()) return;
  const std::string reason = fmt::format(
      "this agent stood still for {:.1f} s, so that orders on the stream may "
      "be "
      "old",
      ToSeconds(gap));
  Log({reason});
  link_->Close(reason);
  flow_->Reset();
  Tell(StreamClosed{reason});
}

void AgentLoop::Turn() {
  now_ = clock_.Both();
  NoticeStandstill();
  if (ready_.disk) TakeDisk();
  if (ready_.shards) TakeShards();
  TakeRanks();
  TakeLink();
  TickIfDue();
  flow_->SendIfPossible(*link_);
  WriteMetricsIfDue();
  TrimIfDue();
}

void AgentLoop::Tell(Event event) {
  told_.push_back(std::move(event));
  // Each event's effects are carried out before the next event is judged.
  while (!told_.empty()) {
    Event next = std::move(told_.front());
    told_.pop_front();
    Outcome outcome = core_->Step(std::move(next), now_);
    Log(outcome.log);
    for (Effect& effect : outcome.effects) CarryOut(std::move(effect));
  }
}

void AgentLoop::TakeLink() {
  // Processes of an identity that was lost are being killed: a Hello with the
  // new boot id would say that there are none.
  if (ranks_->HasLeftovers()) {
    if (!has_told_leftovers_) {
      Log(
          {"processes of an identity that this state directory has lost still "
           "live; they are being killed, and the server is not called before"});
    }
    has_told_leftovers_ = true;
    return;
  }
  for (ServerLink::Event& event :
       link_->Poll(now_.mono, random_(), ready_.link)) {
    if (std::holds_alternative<ServerLink::Opened>(event)) {
      ++metrics_.connections;
      Tell(StreamOpened{});
    } else if (auto* message = std::get_if<LinkMessage>(&event)) {
      if (message->welcome) {
        metrics_.is_connected = true;
        last_link_error_.clear();
        spdlog::info("connected {} {} {}", Kv("server", config_.server),
                     Kv("server_epoch",
                        fmt::format("{}", message->welcome->server_epoch)),
                     Kv("server_id", message->welcome->server_id));
        Tell(WelcomeReceived{*std::move(message->welcome)});
      }
      if (message->ack.value > 0) Tell(AckReceived{message->ack});
      metrics_.commands += message->commands.size();
      Log(message->malformed);
      for (Command& command : message->commands) {
        Tell(CommandReceived{std::move(command)});
      }
    } else if (auto* closed = std::get_if<LinkClosed>(&event)) {
      metrics_.is_connected = false;
      LogLink("stream to the server ended", closed->status);
      flow_->Reset();
      Tell(StreamClosed{std::string(closed->status.message())});
    } else if (auto* failed = std::get_if<ServerLink::ConnectFailed>(&event)) {
      LogLink("no connection to the server", failed->status);
    }
  }
}

// Trying again is normal: only what is new is told.
void AgentLoop::LogLink(std::string_view what, const absl::Status& status) {
  const std::string reason(status.message());
  if (reason == last_link_error_) return;
  last_link_error_ = reason;
  spdlog::warn("{} {} {} {}", what, Kv("server", config_.server),
               Kv("code", absl::StatusCodeToString(status.code())),
               Kv("reason", reason));
}

void AgentLoop::TakeDisk() {
  for (DiskThread::Answer& answer : disk_->Take()) {
    if (auto* persisted = std::get_if<StatePersisted>(&answer)) {
      Tell(*persisted);
    } else if (auto* failed = std::get_if<StatePersistFailed>(&answer)) {
      ++metrics_.state_write_failures;
      Tell(std::move(*failed));
    } else if (auto* written = std::get_if<DiskThread::SpoolWritten>(&answer)) {
      Log(written->log);
      flow_->OnWritten(*written, now_);
      if (written->counts == spool_counts_) continue;
      spool_counts_ = written->counts;
      Tell(SpoolStateChanged{.spooled = spool_counts_.reports,
                             .dropped = spool_counts_.dropped,
                             .is_full = spool_counts_.is_full});
    } else if (auto* read = std::get_if<DiskThread::ReportsRead>(&answer)) {
      flow_->OnRead(std::move(*read));
    }
  }
}

void AgentLoop::TakeRanks() {
  LocalRanks::Readings readings = ranks_->Poll(now_, ready_.ranks);
  Log(readings.log);
  for (CheckpointShard& shard : readings.saved) {
    if (shards_->Hash(shard)) continue;
    shard.error = "too many shards wait to be read back on this node";
    Tell(ShardHashed{std::move(shard)});
  }
  for (Event& event : readings.events) {
    if (std::holds_alternative<StepsRead>(event) && last_steps_ != now_.mono) {
      step_gap_ = now_.mono - last_steps_;
      last_steps_ = now_.mono;
    }
    if (std::holds_alternative<RankSpawned>(event)) ++metrics_.ranks_spawned;
    if (std::holds_alternative<RankGone>(event)) ++metrics_.ranks_exited;
    Tell(std::move(event));
  }
}

void AgentLoop::TakeShards() {
  for (Event& event : shards_->Take()) Tell(std::move(event));
}

void AgentLoop::TickIfDue() {
  if (now_.mono < next_tick_) return;
  next_tick_ = now_.mono + kTickInterval;
  HoldPort();
  Tell(Ticked{});
}

void AgentLoop::HoldPort() {
  if (port_.port() != 0 || now_.mono < next_port_try_) return;
  const absl::Status held = port_.Hold();
  if (!held.ok()) {
    next_port_try_ = now_.mono + seconds(10);
    Log({std::string(held.message())});
  }
  core_->SetRendezvousPort(port_.port());
}

void AgentLoop::StartRank(const SpawnRank& order) {
  // The rank that opens the rendezvous takes the port over. A new one is held
  // at the next tick.
  if (order.start.node_rank == 0 && order.start.master_port == port_.port()) {
    port_.Release();
    next_port_try_ = now_.mono + seconds(1);
  }
  ranks_->Spawn(order);
}

void AgentLoop::CarryOut(Effect effect) {
  struct Visitor {
    AgentLoop& loop;
    void operator()(PersistState& e) { loop.disk_->Persist(std::move(e)); }
    void operator()(SpawnRank& e) { loop.StartRank(e); }
    void operator()(KillRanks& e) { loop.ranks_->Kill(e, loop.now_); }
    void operator()(WriteSaveWord& e) {
      loop.told_.push_back(loop.ranks_->WriteSave(e, loop.now_));
    }
    void operator()(VerifyShards& e) {
      // The core has fewer of them open than the queue holds.
      SR_BUG_IF(!loop.shards_->Verify(std::move(e)));
    }
    void operator()(AppendReport& e) { loop.flow_->Append(e.report); }
    void operator()(DropReportsThrough& e) { loop.flow_->DropThrough(e.seq); }
    void operator()(SendHello& e) { loop.link_->SendHello(e.hello); }
    void operator()(SendReportsFrom& e) { loop.flow_->SendFrom(e.after); }
    void operator()(SendHeartbeat& e) {
      loop.flow_->SetHeartbeat(std::move(e.state));
    }
    void operator()(CloseStream& e) { loop.link_->Close(std::move(e.reason)); }
    void operator()(RemoveRunFiles& e) {
      loop.shards_->Forget(e.run);
      loop.ranks_->RemoveRun(e.run);
    }
  };
  std::visit(Visitor{*this}, effect);
}

void AgentLoop::Log(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) spdlog::info("{}", line);
}

// Code of rare things (starting, connecting, a recovery) does not stay.
void AgentLoop::TrimIfDue() {
  if (next_trim_ == MonoTime{}) next_trim_ = now_.mono + kFirstTrim;
  if (now_.mono < next_trim_) return;
  next_trim_ = now_.mono + kTrimInterval;
  GiveBackCode();
}

void AgentLoop::WriteMetricsIfDue() {
  const bool is_served = server_ != nullptr;
  if (!is_served && config_.metrics_file.empty()) return;
  if (now_.mono < next_metrics_) return;
  next_metrics_ =
      now_.mono + (is_served ? kServedMetricsInterval : kMetricsInterval);
  metrics_.heartbeats = flow_->heartbeats_sent();
  metrics_.reports_sent = flow_->reports_sent();
  metrics_.ranks_alive = ranks_->Live();
  metrics_.spool_reports = spool_counts_.reports;
  metrics_.spool_bytes = spool_counts_.bytes;
  metrics_.spool_dropped = spool_counts_.dropped;
  metrics_.is_spool_full = spool_counts_.is_full;
  if (is_served) board_->Put(metrics_, core_->State(now_));
  if (now_.mono < next_metrics_file_) return;
  next_metrics_file_ = now_.mono + kMetricsInterval;
  if (!config_.metrics_file.empty()) WriteMetricsFile();
  metrics_.slowest_turn_seconds = 0;
}

void AgentLoop::WriteMetricsFile() {
  // By the disk thread: this file may lie on a disk that stands still.
  disk_->WriteText(config_.metrics_file,
                   RenderMetrics(metrics_, core_->State(now_)));
}

}  // namespace steadyrun::agent
