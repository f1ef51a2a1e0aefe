#include "tests/simulation/sim_server.h"

#include <algorithm>
#include <iterator>
#include <type_traits>
#include <utility>

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// As many events share one transaction as are waiting, up to this.
constexpr int kMaxBatch = 32;
constexpr Duration kCommitRetry = milliseconds(200);

}  // namespace

SimServer::SimServer(SimContext& context, SimNetwork& network, Watcher& watcher,
                     EngineMutation mutation)
    : context_(context),
      network_(network),
      watcher_(watcher),
      mutation_(mutation) {
  clock_.mono_offset = context.random.Time(seconds(1), seconds(10'000'000));
}

void SimServer::Start() {
  if (IsRunning()) return;
  ++life_;
  // Half of the restarts are on a machine that has booted meanwhile.
  if (life_ > 1 && context_.random.Chance(0.5)) {
    clock_.mono_offset = context_.random.Time(seconds(1), seconds(1000));
  }
  Snapshot snapshot = store_.Load(LocalNow());
  context_.trace.Line(context_.now(), "server", "starts with epoch {}",
                      snapshot.server_epoch);
  watcher_.OnServerStarted(snapshot.server_epoch);
  EngineOptions options;
  options.mutation = mutation_;
  engine_ = std::make_unique<Engine>(options, std::move(snapshot), LocalNow());
  is_paused_ = is_tick_due_ = is_committing_ = false;
  Tick();
}

void SimServer::Crash() {
  if (!IsRunning()) return;
  context_.trace.Line(context_.now(), "server", "dies");
  ++life_;
  engine_.reset();
  queue_.clear();
  changes_.clear();
  effects_.clear();
  sessions_.clear();
  by_session_.clear();
  is_committing_ = is_paused_ = false;
  network_.ServerDied();
}

void SimServer::Pause() {
  if (!IsRunning()) return;
  context_.trace.Line(context_.now(), "server", "is stopped");
  is_paused_ = true;
}

void SimServer::Resume() {
  if (!IsRunning() || !is_paused_) return;
  context_.trace.Line(context_.now(), "server", "goes on");
  is_paused_ = false;
  network_.WakeServer();
  Run();
}

void SimServer::Tick() {
  const std::uint64_t life = life_;
  context_.queue.After(kTickInterval, [this, life] {
    if (life_ == life && IsRunning()) Tick();
  });
  is_tick_due_ = true;
  Run();
}

bool SimServer::Submit(Event event) {
  if (!IsRunning() || is_paused_) return false;
  Enqueue(std::move(event));
  return true;
}

void SimServer::Enqueue(Event event) {
  queue_.push_back(std::move(event));
  largest_queue_ = std::max(largest_queue_, queue_.size());
  Run();
}

void SimServer::Run() {
  while (IsReading() && !is_committing_ && (is_tick_due_ || !queue_.empty())) {
    for (int i = 0; i < kMaxBatch && (is_tick_due_ || !queue_.empty()); ++i) {
      Event event = Ticked{};
      if (!is_tick_due_) {
        event = std::move(queue_.front());
        queue_.pop_front();
      }
      is_tick_due_ = false;
      ++steps_;
      Outcome outcome = engine_->Step(event, LocalNow());
      for (const std::string& line : outcome.log) {
        context_.trace.Line(context_.now(), "server", "engine: {}", line);
      }
      watcher_.OnEngineStep(event, outcome);
      std::ranges::move(outcome.changes, std::back_inserter(changes_));
      std::ranges::move(outcome.effects, std::back_inserter(effects_));
    }
    if (changes_.empty()) {
      if (!effects_.empty()) watcher_.OnCommit(changes_);
      PerformAll();
    } else {
      Commit();
    }
  }
}

void SimServer::Commit() {
  is_committing_ = true;
  const std::uint64_t life = life_;
  const Duration latency = context_.random.Time(context_.faults.commit_min,
                                                context_.faults.commit_max);
  context_.queue.After(latency, [this, life] {
    if (life_ == life) CommitDue();
  });
}

void SimServer::CommitDue() {
  const std::uint64_t life = life_;
  if (IsStorageFailing() || is_paused_) {
    context_.queue.After(kCommitRetry, [this, life] {
      if (life_ == life) CommitDue();
    });
    return;
  }
  watcher_.OnCommit(changes_);
  store_.Apply(changes_, LocalNow().mono);
  watcher_.OnCommitted();
  changes_.clear();
  is_committing_ = false;
  PerformAll();
  if (life_ == life) Run();
}

void SimServer::PerformAll() {
  const std::uint64_t life = life_;
  const std::vector<Effect> effects = std::exchange(effects_, {});
  for (const Effect& effect : effects) {
    // A crash may come between any two effects.
    if (context_.faults[FaultKind::kKillServer] > Duration(0) &&
        context_.random.Chance(0.0005)) {
      Crash();
      context_.queue.After(context_.random.Time(milliseconds(300), seconds(8)),
                           [this] { Start(); });
    }
    if (life_ != life) return;
    Perform(effect);
  }
}

void SimServer::Perform(const Effect& effect) {
  std::visit(
      [&](const auto& e) {
        using E = std::decay_t<decltype(e)>;
        if constexpr (requires { e.session; }) {
          const auto it = by_session_.find(e.session);
          if (it == by_session_.end()) return;
          const Session session = it->second;
          if constexpr (std::is_same_v<E, AckReports>) {
            context_.trace.Line(context_.now(), "server", "acks {} to node-{}",
                                e.seq.value, session.node);
          }
          watcher_.OnServerEffect(effect, session.node);
          if constexpr (std::is_same_v<E, SendCommand>) {
            network_.SendToAgent(session.stream, e.command);
          } else if constexpr (std::is_same_v<E, SendWelcome>) {
            network_.SendToAgent(session.stream, e.welcome);
          } else if constexpr (std::is_same_v<E, AckReports>) {
            network_.SendToAgent(session.stream, AckMessage{e.seq});
          } else {
            context_.trace.Line(context_.now(), "server",
                                "closes the session of node-{}: {}",
                                session.node, std::string(e.status.message()));
            network_.CloseFromServer(session.stream, false);
            sessions_.erase(session.stream);
            by_session_.erase(it);
          }
        } else {
          watcher_.OnServerEffect(effect, -1);
          if constexpr (std::is_same_v<E, ReplyToOperator>) {
            if (on_reply_) on_reply_(e);
          } else {
            context_.trace.Line(context_.now(), "server", "PAGE: {}", e.text);
          }
        }
      },
      effect);
}

// --- Streams.
// ----------------------------------------------------------------------

void SimServer::OnStreamToServer(StreamId stream, int node) {
  sessions_[stream] = {node, SessionId{0}};
}

void SimServer::OnMessage(StreamId stream, ToServer message) {
  const auto it = sessions_.find(stream);
  if (it == sessions_.end()) return;
  auto& [node, session] = it->second;
  if (auto* hello = std::get_if<Hello>(&message)) {
    session = SessionId{next_session_++};
    by_session_[session] = {stream, node};
    Enqueue(AgentConnected{session, std::move(*hello)});
  } else if (auto* state = std::get_if<NodeState>(&message)) {
    Enqueue(AgentHeartbeat{session, std::move(*state)});
  } else if (auto* reports = std::get_if<std::vector<Report>>(&message)) {
    Enqueue(AgentReports{session, std::move(*reports)});
  }
}

void SimServer::OnServerStreamClosed(StreamId stream) {
  const auto it = sessions_.find(stream);
  if (it == sessions_.end()) return;
  const SessionId session = it->second.second;
  sessions_.erase(it);
  if (session.value == 0) return;
  by_session_.erase(session);
  Enqueue(AgentDisconnected{session, "stream closed"});
}

}  // namespace steadyrun::sim
