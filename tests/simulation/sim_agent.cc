#include "tests/simulation/sim_agent.h"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr Duration kPollInterval = milliseconds(250);
constexpr StreamId kStaleStream = ~StreamId{0};
// A message holds at most 256 KiB; a report here is about a kilobyte.
constexpr std::size_t kReportsPerMessage = 64;

}  // namespace

SimAgent::SimAgent(SimContext& context, SimCluster& cluster,
                   SimNetwork& network, Watcher& watcher, int node,
                   agent::CoreMutation mutation)
    : context_(context),
      cluster_(cluster),
      network_(network),
      watcher_(watcher),
      node_(node),
      name_(fmt::format("node-{}", node)),
      mutation_(mutation) {
  clock_.mono_offset = context.random.Time(seconds(1), seconds(10'000'000));
}

std::string SimAgent::boot_id() const {
  return fmt::format("boot-{}-{}:{}", node_, boots_,
                     disk_.state ? disk_.state->state_uuid : "none");
}

bool SimAgent::IsReading() const {
  return IsRunning() && cluster_.IsUp(node_) && !cluster_.IsPaused(node_);
}

// --- Life.
// ---------------------------------------------------------------------

std::vector<NodeRunState> SimAgent::Survivors() {
  std::map<RunId, NodeRunState> runs;
  const auto add = [&](const RunId& run, RankState rank) {
    NodeRunState& state = runs[run];
    state.run = run;
    for (const agent::DurableRun& durable : disk_.state->runs) {
      if (durable.run != run) continue;
      state.floor = durable.floor;
      state.started = durable.started;
    }
    state.ranks.push_back(std::move(rank));
  };
  for (const int id : cluster_.LiveOn(node_)) {
    add(cluster_.At(id).run, cluster_.Observe(cluster_.At(id)));
  }
  for (const RankExited& exit : cluster_.ExitRecords(node_)) {
    RankState rank;
    rank.rank = exit.rank;
    rank.attempt = exit.attempt;
    rank.step = exit.step;
    rank.life = RankLife::kAlive;  // Until its record is read.
    add(exit.run, std::move(rank));
  }
  std::vector<NodeRunState> survivors;
  for (auto& [run, state] : runs) survivors.push_back(std::move(state));
  return survivors;
}

void SimAgent::Start() {
  if (IsRunning() || !cluster_.IsUp(node_)) return;
  ++life_;
  if (!disk_.state) {
    disk_.state.emplace();
    disk_.state->state_uuid = fmt::format("state-{}-{}", node_, disk_.wipes);
    watcher_.OnNodeReborn(node_, boot_id());
  }
  agent::CoreOptions options;
  options.node = name_;
  options.kernel_boot_id = fmt::format("boot-{}-{}", node_, boots_);
  options.address = fmt::format("10.0.0.{}", node_ + 1);
  options.agent_pid = static_cast<std::int32_t>(100 + life_);
  options.incarnation = Incarnation{context_.random.Next()};
  options.version = "sim";
  options.mutation = mutation_;
  core_ = std::make_unique<agent::AgentCore>(options, *disk_.state, Survivors(),
                                             disk_.last_spooled,
                                             disk_.OldestSpooled(), LocalNow());
  core_->SetRendezvousPort(next_port_++);
  sent_through_ = ReportSeq{0};
  connect_failures_ = 0;
  is_connecting_ = false;
  was_spool_full_ = false;
  context_.trace.Line(context_.now(), name_, "agent starts, boot {}",
                      boot_id());
  Poll();
  ConnectAfter(context_.random.Time(milliseconds(1), milliseconds(100)));
}

void SimAgent::Crash() {
  if (!IsRunning()) return;
  context_.trace.Line(context_.now(), name_, "agent dies");
  ++life_;
  core_.reset();
  is_welcomed_ = false;
  deferred_.clear();
  // What was being written is on disk, or it is not.
  if (writing_ && context_.random.Chance(0.5)) disk_.state = writing_->state;
  writing_.reset();
  appends_.clear();
  // Recorders are read again from where the spool's last commit left off, or
  // from before it.
  cluster_.ReturnRecorderEvents(node_, std::move(unsettled_));
  unsettled_.clear();
  if (context_.random.Chance(0.3)) {
    cluster_.ReturnRecorderEvents(node_, std::exchange(settled_, {}));
    for (RankExited& exit : std::exchange(settled_exits_, {})) {
      cluster_.ExitRecords(node_).push_back(std::move(exit));
    }
  }
  if (is_stale_stream_) watcher_.OnStaleStream(node_, false);
  is_stale_stream_ = false;
  if (stream_ != 0) network_.CloseFromAgent(stream_, true);
  stream_ = 0;
}

// Exit records lie in the state directory, too; the processes themselves are
// found by a mark in their environment.
void SimAgent::WipeState() {
  disk_.Wipe();
  cluster_.ExitRecords(node_).clear();
  cluster_.Orphan(node_);
}

void SimAgent::LoseSpool() {
  // The state file knows a number above all in use, unless it could not be
  // written yet: losing both is losing the state.
  if (!disk_.state || disk_.state->next_seq <= disk_.last_spooled) return;
  disk_.spool.clear();
  disk_.last_spooled = ReportSeq{0};
  watcher_.OnSpoolLost(node_);
}

void SimAgent::Reboot(bool wipe) {
  ++boots_;
  clock_.mono_offset = context_.random.Time(seconds(1), seconds(1000));
  settled_.clear();
  settled_exits_.clear();
  if (wipe) disk_.Wipe();
  watcher_.OnNodeReborn(node_, boot_id());
}

void SimAgent::OnNodeResumed() {
  if (!IsRunning()) return;
  std::deque<std::function<void()>> due = std::exchange(deferred_, {});
  for (const auto& action : due) {
    if (IsReading()) action();
  }
}

void SimAgent::OnProcessGone() {
  if (!IsRunning()) return;
  AfterIfAlive(context_.random.Time(milliseconds(1), milliseconds(30)), [this] {
    ReadRecorders();
    ReadExits();
  });
}

// --- The poll: recorders, exits, deadlines.
// ------------------------------------

void SimAgent::Poll() {
  if (!IsRunning()) return;
  for (const int id : cluster_.LiveOn(node_)) {
    const Process& process = cluster_.At(id);
    Step(agent::RankObserved{process.run, cluster_.Observe(process)});
    if (!IsRunning()) return;
  }
  ReadRecorders();
  ReadExits();
  TellSpoolState();
  if (!IsRunning()) return;
  Step(agent::Ticked{});
  AfterIfAlive(kPollInterval, [this] { Poll(); });
}

void SimAgent::ReadRecorders() {
  for (RecorderEvent& event : cluster_.TakeRecorderEvents(node_)) {
    if (!IsRunning()) {
      cluster_.ReturnRecorderEvents(node_, {std::move(event)});
      continue;
    }
    unsettled_.push_back(event);
    std::visit(
        [this](const auto& body) {
          using Body = std::decay_t<decltype(body)>;
          if constexpr (std::is_same_v<Body, StepBlock>) {
            Step(agent::StepsRead{body});
          } else if constexpr (std::is_same_v<Body, CheckpointShard>) {
            Step(agent::ShardHashed{body});
          } else if constexpr (std::is_same_v<Body, CheckpointShardBad>) {
            Step(agent::ShardFoundBad{body});
          } else {
            Step(agent::RankSaidFinished{body});
          }
        },
        event);
  }
}

void SimAgent::ReadExits() {
  // A record is removed when the spool has committed its report; until then a
  // restarted agent finds it again.
  for (const RankExited& exit :
       std::deque<RankExited>(cluster_.ExitRecords(node_))) {
    if (!IsRunning()) return;
    Step(agent::RankGone{exit});
  }
}

void SimAgent::TellSpoolState() {
  const bool is_full = spool_full_until_ > context_.now();
  if (!IsRunning() || is_full == was_spool_full_) return;
  was_spool_full_ = is_full;
  Step(agent::SpoolStateChanged{disk_.spool.size(), disk_.dropped, is_full});
}

// --- The core and its effects.
// ---------------------------------------------------

void SimAgent::Step(agent::Event event) {
  const std::uint64_t life = life_;
  agent::Outcome outcome = core_->Step(std::move(event), LocalNow());
  for (const std::string& line : outcome.log) {
    context_.trace.Line(context_.now(), name_, "agent: {}", line);
  }
  for (const agent::Effect& effect : outcome.effects) {
    // A crash may come between any two effects.
    if (context_.faults[FaultKind::kKillAgent] > Duration(0) &&
        !std::holds_alternative<agent::SendHeartbeat>(effect) &&
        context_.random.Chance(0.0005)) {
      Crash();
      context_.queue.After(context_.random.Time(milliseconds(300), seconds(5)),
                           [this] { Start(); });
    }
    if (life_ != life) return;
    watcher_.OnAgentEffect(node_, effect, disk_);
    Perform(effect);
  }
}

void SimAgent::Perform(const agent::Effect& effect) {
  std::visit([this](const auto& e) { On(e); }, effect);
}

void SimAgent::On(const agent::KillRanks& kill) {
  cluster_.Kill(node_, kill.run, kill.below, kill.grace);
}

void SimAgent::On(const agent::WriteSaveWord& word) {
  const bool in_time =
      cluster_.WriteSaveWord(node_, word.run, word.attempt, word.save);
  agent::SaveWordWritten done{word.command_id, word.run, word.attempt, !in_time,
                              ""};
  AfterIfAlive(milliseconds(1), [this, done] { Step(done); });
}

void SimAgent::On(const agent::VerifyShards& verify) {
  AfterIfAlive(context_.random.Time(milliseconds(5), milliseconds(800)),
               [this, verify] {
                 agent::ShardsVerified done{
                     verify.command_id, verify.run, verify.attempt, {}};
                 for (const ShardRef& shard : verify.verify.shards) {
                   done.checks.push_back(cluster_.Check(shard));
                 }
                 Step(done);
               });
}

void SimAgent::On(const agent::DropReportsThrough& drop) {
  watcher_.OnReportsDropped(node_, boot_id(), drop.seq);
  while (!disk_.spool.empty() && disk_.spool.front().seq <= drop.seq) {
    disk_.spool.pop_front();
  }
}

void SimAgent::On(const agent::SendHello& send) {
  if (!is_stale_stream_) network_.SendToServer(stream_, send.hello);
}

void SimAgent::On(const agent::SendReportsFrom& send) {
  sent_through_ = send.after;
  is_welcomed_ = !is_stale_stream_;
  connect_failures_ = 0;
  SendReports();
}

void SimAgent::On(const agent::SendHeartbeat& send) {
  if (!is_stale_stream_) network_.SendToServer(stream_, send.state);
}

void SimAgent::On(const agent::CloseStream&) {
  if (!is_stale_stream_) network_.CloseFromAgent(stream_, false);
  // The transport tells of the end like of any other.
  AfterIfAlive(Duration(0), [this, stream = stream_] {
    if (stream_ == stream && stream != 0) OnAgentStreamClosed(stream);
  });
}

void SimAgent::On(const agent::PersistState& persist) {
  writing_ = persist;
  const Duration latency = context_.random.Time(context_.faults.persist_min,
                                                context_.faults.persist_max);
  AfterIfAlive(latency, [this] {
    if (!writing_) return;
    const agent::PersistState written = *std::exchange(writing_, std::nullopt);
    if (disk_fails_until_ > context_.now()) {
      Step(agent::StatePersistFailed{
          written.ticket, absl::ResourceExhaustedError("disk full")});
      return;
    }
    disk_.state = written.state;
    Step(agent::StatePersisted{written.ticket});
  });
}

void SimAgent::On(const agent::SpawnRank& spawn) {
  const std::optional<int> process =
      cluster_.Spawn(node_, spawn.run, spawn.attempt, spawn.start);
  const Rank rank = spawn.start.ranks.front().rank;
  const Duration latency =
      context_.random.Time(milliseconds(1), milliseconds(20));
  if (!process) {
    agent::RankSpawnFailed failed{spawn.run, spawn.attempt, rank,
                                  "fork: out of memory"};
    AfterIfAlive(latency, [this, failed] { Step(failed); });
    return;
  }
  if (spawn.start.node_rank == 0) core_->SetRendezvousPort(next_port_++);
  agent::RankSpawned done{spawn.run, spawn.attempt, rank,
                          cluster_.At(*process).pid};
  AfterIfAlive(latency, [this, done] { Step(done); });
}

void SimAgent::On(const agent::AppendReport& append) {
  Report report = append.report;
  if (auto* block = std::get_if<StepBlock>(&report.body)) {
    // A stamp of its own in the tokens column, so that a committed row tells
    // which report each of its values came from.
    const std::size_t ranks = block->ranks.size();
    std::fill(block->values.end() - static_cast<std::ptrdiff_t>(ranks),
              block->values.end(), static_cast<float>(++context_.stamps));
    if (spool_full_until_ > context_.now()) {
      report.body = Gap{report.seq, report.seq, "spool full"};
      ++disk_.dropped;
    }
  }
  appends_.push_back(std::move(report));
  if (appends_.size() > 1) return;  // A commit is on its way.
  AfterIfAlive(context_.random.Time(context_.faults.persist_min,
                                    context_.faults.persist_max),
               [this] { CommitSpool(); });
}

void SimAgent::CommitSpool() {
  settled_exits_.clear();
  for (Report& report : appends_) {
    if (const auto* exit = std::get_if<RankExited>(&report.body)) {
      settled_exits_.push_back(*exit);
      settled_exits_.back().killed_by_agent = false;
      std::erase_if(cluster_.ExitRecords(node_), [&](const RankExited& other) {
        return other.run == exit->run && other.attempt == exit->attempt &&
               other.rank == exit->rank;
      });
    }
    disk_.last_spooled = report.seq;
    watcher_.OnReportSpooled(node_, boot_id(), report);
    disk_.spool.push_back(std::move(report));
  }
  appends_.clear();
  settled_ = std::exchange(unsettled_, {});
  SendReports();
}

void SimAgent::SendReports() {
  if (!is_welcomed_ || stream_ == 0) return;
  std::vector<Report> batch;
  for (const Report& report : disk_.spool) {
    if (report.seq <= sent_through_) continue;
    sent_through_ = report.seq;
    batch.push_back(report);
    if (batch.size() == kReportsPerMessage) {
      network_.SendToServer(stream_, std::exchange(batch, {}));
    }
  }
  if (!batch.empty()) network_.SendToServer(stream_, std::move(batch));
}

void SimAgent::ResendFrom(std::uint64_t reports_back) {
  if (!IsReading()) return;
  const std::uint64_t back = std::min(reports_back, sent_through_.value);
  sent_through_ = ReportSeq{sent_through_.value - back};
  SendReports();
}

// --- The stream.
// -----------------------------------------------------------------

void SimAgent::ConnectAfter(Duration delay) {
  if (is_connecting_) return;
  is_connecting_ = true;
  AfterIfAlive(delay, [this] {
    if (std::exchange(meets_stale_server_, false)) {
      OpenStaleStream();
    } else {
      network_.Connect(node_);
    }
  });
}

void SimAgent::Reconnect() {
  ConnectAfter(BackoffDelay({}, connect_failures_++, context_.random.Next()));
}

void SimAgent::OnStreamOpened(StreamId stream) {
  if (!IsRunning() || stream_ != 0) {
    network_.CloseFromAgent(stream, true);
    return;
  }
  is_connecting_ = false;
  stream_ = stream;
  WhenReading([this, stream] {
    if (stream_ == stream) Step(agent::StreamOpened{});
  });
}

void SimAgent::OnConnectFailed() {
  if (!IsRunning() || !is_connecting_) return;
  is_connecting_ = false;
  Reconnect();
}

void SimAgent::OnAgentStreamClosed(StreamId stream) {
  if (stream_ != stream || !IsRunning()) return;
  stream_ = 0;
  is_welcomed_ = false;
  if (std::exchange(is_stale_stream_, false)) {
    watcher_.OnStaleStream(node_, false);
  }
  Step(agent::StreamClosed{"closed"});
  if (IsRunning()) Reconnect();
}

void SimAgent::OnMessage(StreamId stream, ToAgent message) {
  if (stream_ != stream || !IsRunning()) return;
  if (auto* welcome = std::get_if<Welcome>(&message)) {
    Step(agent::WelcomeReceived{*welcome});
  } else if (auto* ack = std::get_if<AckMessage>(&message)) {
    Step(agent::AckReceived{ack->seq});
  } else if (auto* command = std::get_if<Command>(&message)) {
    const bool is_start = std::holds_alternative<StartCommand>(command->body);
    if (is_start || std::holds_alternative<StopCommand>(command->body)) {
      std::erase_if(former_commands_, [&](const Command& former) {
        return former.body.index() == command->body.index();
      });
      former_commands_.push_back(*command);
    }
    const Command copy = *command;
    Step(agent::CommandReceived{std::move(*command)});
    if (!is_start && expects_early_start_) DeliverEarlyStart(copy);
  }
}

// A server with a defect would start the next attempt while this node's ranks
// are still dying. The agent has to hold it back on its own.
void SimAgent::DeliverEarlyStart(const Command& stop) {
  const auto* body = std::get_if<StopCommand>(&stop.body);
  if (body == nullptr || !IsRunning()) return;
  const auto is_older = [&](int id) {
    return cluster_.At(id).run == stop.run &&
           cluster_.At(id).attempt < stop.attempt;
  };
  const std::vector<int> live = cluster_.LiveOn(node_);
  const auto older = std::ranges::find_if(live, is_older);
  if (older == live.end()) return;
  expects_early_start_ = false;
  // Nothing dies before it arrives: else it would be in time.
  cluster_.Cling(node_, context_.now() + seconds(3));
  Command start = stop;
  start.command_id =
      fmt::format("{}/{}/start/early", stop.run, stop.attempt.value);
  start.body = cluster_.At(*older).start;
  AfterIfAlive(milliseconds(500), [this, start, id = *older] {
    if (!is_welcomed_ || !cluster_.At(id).is_alive) return;
    context_.trace.Line(context_.now(), name_, "a Start arrives too soon");
    Step(agent::CommandReceived{start});
  });
}

void SimAgent::DeliverLateCommands() {
  if (!is_welcomed_ || !IsReading() || !disk_.state) return;
  std::vector<Command> late = former_commands_;
  std::ranges::sort(late, {}, [](const Command& command) {
    return std::holds_alternative<StartCommand>(command.body);
  });
  for (Command& command : late) {
    if (!IsRunning() || command.boot_id == boot_id()) continue;
    command.server_epoch = disk_.state->max_server_epoch;
    context_.trace.Line(context_.now(), name_, "late command {} arrives",
                        command.command_id);
    AfterIfAlive(milliseconds(100), [this, command] {
      if (is_welcomed_) Step(agent::CommandReceived{command});
    });
    // The answer to the first must not hide the second.
    command.command_id += "/late";
  }
}

// A server of an older epoch, or a copy of equal epoch, that goes on giving
// orders. The agent must see through both.
void SimAgent::OpenStaleStream() {
  if (stream_ != 0 || disk_.state->max_server_epoch < 2) {
    network_.Connect(node_);
    return;
  }
  is_connecting_ = false;
  stream_ = kStaleStream;
  is_stale_stream_ = true;
  watcher_.OnStaleStream(node_, true);
  context_.trace.Line(context_.now(), name_, "meets a stale server");
  const bool is_copy = context_.random.Chance(0.5);
  Welcome welcome;
  welcome.server_epoch = disk_.state->max_server_epoch - (is_copy ? 0 : 1);
  welcome.server_id = is_copy ? "sim-copy" : disk_.state->server_id;
  Step(agent::StreamOpened{});
  AfterIfAlive(milliseconds(2), [this, welcome] {
    if (stream_ == kStaleStream) Step(agent::WelcomeReceived{welcome});
  });
  for (const agent::DurableRun& run : disk_.state->runs) {
    Command stop;
    stop.server_epoch = welcome.server_epoch;
    stop.run = run.run;
    stop.attempt = run.floor.Next();
    stop.command_id =
        fmt::format("{}/{}/stop/stale", run.run, stop.attempt.value);
    stop.boot_id = boot_id();
    stop.body = StopCommand{};
    AfterIfAlive(milliseconds(5), [this, stop] {
      if (stream_ == kStaleStream) Step(agent::CommandReceived{stop});
    });
  }
  AfterIfAlive(context_.random.Time(milliseconds(100), seconds(2)), [this] {
    if (stream_ == kStaleStream) OnAgentStreamClosed(kStaleStream);
  });
}

}  // namespace steadyrun::sim
