#include "tests/scenario/scripted_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "tests/scenario/scripted_node.h"

namespace steadyrun {
namespace {

constexpr Duration kHeartbeat = std::chrono::milliseconds(500);
constexpr Duration kTrainTick = std::chrono::milliseconds(10);
constexpr Duration kReconnect = std::chrono::milliseconds(200);

}  // namespace

ScriptedCluster::ScriptedCluster()
    : start_(MonoTime(std::chrono::hours(1))),
      now_(start_),
      next_tick_(start_),
      next_heartbeat_(start_),
      next_train_(start_) {
  StartServer();
}

ScriptedCluster::~ScriptedCluster() = default;

Now ScriptedCluster::TimeNow() const {
  return {now_, WallTime(std::chrono::milliseconds(1'700'000'000'000)) +
                    std::chrono::duration_cast<std::chrono::milliseconds>(
                        now_ - start_)};
}

void ScriptedCluster::Later(Duration delay, std::function<void()> deliver) {
  pending_.push_back({now_ + delay, next_order_++, std::move(deliver)});
}

// --- The service.

void ScriptedCluster::StartServer() {
  ++server_life_;
  engine_ = std::make_unique<Engine>(EngineOptions{}, store_.Load(TimeNow()),
                                     TimeNow());
  for (const auto& [name, node] : nodes_) {
    if (!node->is_dead && !node->is_frozen) {
      Later(kReconnect, [this, n = name] { JoinAgent(n); });
    }
  }
}

void ScriptedCluster::KillServer() {
  engine_.reset();
  for (auto& [name, node] : nodes_) node->is_connected = false;
  Tell("the server is killed");
}

void ScriptedCluster::Step(Event event) {
  if (engine_ == nullptr) return;
  Carry(engine_->Step(std::move(event), TimeNow()));
}

void ScriptedCluster::Carry(Outcome outcome) {
  store_.Apply(outcome.changes, TimeNow());
  for (const Change& change : outcome.changes) Note(change);
  for (Effect& effect : outcome.effects) {
    if (auto* send = std::get_if<SendCommand>(&effect)) {
      for (auto& [name, node] : nodes_) {
        if (node->session != send->session) continue;
        Tell(fmt::format("  -> {}: {}", name, send->command.command_id));
        Later(kLatency, [this, n = node.get(), s = send->session,
                         c = std::move(send->command)] {
          if (n->session == s && n->CanTalk()) Obey(*n, c);
        });
        break;
      }
    } else if (const auto* ack = std::get_if<AckReports>(&effect)) {
      for (auto& [name, node] : nodes_) {
        if (node->session != ack->session) continue;
        std::erase_if(node->unacked, [ack](const steadyrun::Report& r) {
          return r.seq <= ack->seq;
        });
      }
    } else if (const auto* welcome = std::get_if<SendWelcome>(&effect)) {
      for (auto& [name, node] : nodes_) {
        if (node->session == welcome->session) SendUnacked(*node);
      }
    } else if (const auto* page = std::get_if<Page>(&effect)) {
      Tell("PAGE " + page->text);
    } else if (const auto* reply = std::get_if<ReplyToOperator>(&effect)) {
      Tell(reply->status.ok()
               ? fmt::format("reply{}: {}",
                             reply->is_duplicate ? " (again)" : "",
                             reply->message)
               : fmt::format("refused: {}",
                             std::string(reply->status.message())));
    } else if (const auto* close = std::get_if<CloseSession>(&effect)) {
      Tell(fmt::format("stream {} closed: {}", close->session.value,
                       std::string(close->status.message())));
    }
  }
}

// --- Time.

bool ScriptedCluster::AnyPendingBefore(MonoTime time) const {
  return std::any_of(pending_.begin(), pending_.end(),
                     [time](const Pending& p) { return p.at <= time; });
}

void ScriptedCluster::Advance(MonoTime until) {
  while (true) {
    MonoTime next = std::min({until, next_tick_, next_heartbeat_, next_train_});
    auto it = std::min_element(pending_.begin(), pending_.end(),
                               [](const Pending& a, const Pending& b) {
                                 return std::tie(a.at, a.order) <
                                        std::tie(b.at, b.order);
                               });
    if (it != pending_.end() && it->at <= next) {
      now_ = std::max(now_, it->at);
      const std::function<void()> deliver = std::move(it->deliver);
      pending_.erase(it);
      deliver();
      continue;
    }
    now_ = std::max(now_, next);
    if (now_ >= until) return;
    if (next_train_ <= now_) {
      next_train_ += kTrainTick;
      Train();
    }
    if (next_heartbeat_ <= now_) {
      next_heartbeat_ += kHeartbeat;
      for (auto& [name, node] : nodes_) Heartbeat(*node);
    }
    if (next_tick_ <= now_) {
      next_tick_ += kTickInterval;
      Step(Ticked{});
    }
  }
}

void ScriptedCluster::RunFor(Duration duration) { Advance(now_ + duration); }

bool ScriptedCluster::RunUntilPhase(const std::string& phase) {
  const MonoTime limit = now_ + std::chrono::minutes(30);
  while (now_ < limit) {
    for (const auto& [name, run] : store_.Runs()) {
      if (RunPhaseName(run.phase) == phase) return true;
    }
    Advance(now_ + kTrainTick);
  }
  return false;
}

bool ScriptedCluster::RunUntilStep(std::int64_t step) {
  const MonoTime limit = now_ + std::chrono::minutes(30);
  while (now_ < limit) {
    if (training_.value > 0 && step_ >= step) return true;
    Advance(now_ + kTrainTick);
  }
  return false;
}

// --- Nodes.

void ScriptedCluster::AddNode(const std::string& name) {
  auto node = std::make_unique<Node>();
  node->state.node = name;
  node->state.boot_id = name + "-life1";
  node->state.agent_incarnation = Incarnation{1};
  node->state.address = "10.0.0." + std::to_string(nodes_.size() + 1);
  node->state.rendezvous_port = 29500;
  nodes_[name] = std::move(node);
  JoinAgent(name);
}

void ScriptedCluster::JoinAgent(const std::string& name) {
  Node& node = *nodes_.at(name);
  node.is_connected = true;
  node.is_muted = false;
  node.session = SessionId{++next_session_};
  Hello hello;
  Heartbeat(node);  // Refreshes the ages; not heard before the Hello.
  hello.state = node.state;
  Later(kLatency, [this, s = node.session, h = std::move(hello)] {
    Step(AgentConnected{s, h});
  });
}

void ScriptedCluster::CutAgent(const std::string& name) {
  Node& node = *nodes_.at(name);
  node.is_connected = false;
  Later(kLatency, [this, s = node.session] {
    Step(AgentDisconnected{s, "connection reset"});
  });
}

void ScriptedCluster::MuteAgent(const std::string& name) {
  nodes_.at(name)->is_muted = true;
}

void ScriptedCluster::KillNode(const std::string& name) {
  Node& node = *nodes_.at(name);
  node.is_dead = true;
  std::int32_t victim = -1;
  for (NodeRunState& run : node.state.runs) {
    for (RankState& rank : run.ranks) {
      if (rank.life == RankLife::kExited) continue;
      rank.life = RankLife::kExited;
      victim = rank.rank.value;
    }
  }
  CutAgent(name);
  if (victim >= 0) KillPeersOf(victim);
}

void ScriptedCluster::Reboot(const std::string& name) {
  Node& node = *nodes_.at(name);
  if (!node.is_dead) KillNode(name);
  node.is_dead = false;
  node.is_frozen = false;
  node.state.runs.clear();
  node.state.boot_id += "x";
  node.next_seq = 1;
  node.unacked.clear();
  node.sent.clear();
  JoinAgent(name);
}

void ScriptedCluster::FreezeNode(const std::string& name) {
  nodes_.at(name)->is_frozen = true;
}

void ScriptedCluster::ThawNode(const std::string& name) {
  Node& node = *nodes_.at(name);
  node.is_frozen = false;
  // What was in flight to the frozen node is still in its sockets; the
  // product's agent sees the stream's end and connects again.
  JoinAgent(name);
}

void ScriptedCluster::RefuseStart(const std::string& node) {
  nodes_.at(node)->refuses_start = true;
}

void ScriptedCluster::DropCommands(const std::string& node, int count) {
  nodes_.at(node)->drops = count;
}

void ScriptedCluster::RepeatReports(const std::string& name) {
  Node& node = *nodes_.at(name);
  AgentReports message{node.session, node.sent};
  Later(kLatency, [this, m = std::move(message)] { Step(m); });
}

// Whole state, ages as of now.
void ScriptedCluster::Heartbeat(Node& node) {
  for (NodeRunState& run : node.state.runs) {
    for (RankState& rank : run.ranks) {
      if (rank.life == RankLife::kExited) continue;
      rank.progress_age = now_ - node.progressed[rank.rank.value];
      rank.phase_age = rank.progress_age;
      rank.process_state = node.stopped[rank.rank.value] ? 'T' : 'S';
    }
  }
  if (!node.CanTalk()) return;
  AgentHeartbeat message{node.session, node.state};
  Later(kLatency, [this, n = &node, m = std::move(message)] {
    if (n->session == m.session && n->is_connected) Step(m);
  });
}

void ScriptedCluster::Report(Node& node, ReportBody body) {
  steadyrun::Report report{ReportSeq{node.next_seq++}, std::move(body)};
  node.unacked.push_back(report);
  node.sent.push_back(report);
  if (!node.CanTalk()) return;
  Later(kLatency, [this, n = &node, s = node.session, r = std::move(report)] {
    if (n->session == s && n->is_connected) Step(AgentReports{s, {r}});
  });
}

void ScriptedCluster::SendUnacked(Node& node) {
  if (node.unacked.empty()) return;
  AgentReports message{node.session, node.unacked};
  Later(kLatency, [this, n = &node, m = std::move(message)] {
    if (n->session == m.session && n->is_connected) Step(m);
  });
}

// --- What an agent does with a command.

void ScriptedCluster::Obey(Node& node, const Command& command) {
  if (node.drops > 0) {
    --node.drops;
    Tell("     lost: " + command.command_id);
    return;
  }
  if (command.boot_id != node.state.boot_id) {
    Answer(node, command, CommandOutcome::kBootMismatch);
    return;
  }
  if (node.FindRun(command.run) == nullptr) {
    node.state.runs.push_back({command.run, {}, {}, {}});
  }
  NodeRunState& run = *node.FindRun(command.run);
  if (std::holds_alternative<StopCommand>(command.body)) {
    run.floor = std::max(run.floor, command.attempt);
    for (RankState& rank : run.ranks) {
      if (rank.life != RankLife::kExited && rank.attempt < run.floor) {
        ExitRank(node, rank, {0, SIGKILL}, "", false, /*by_agent=*/true);
      }
    }
    Heartbeat(node);
  } else if (const auto* start = std::get_if<StartCommand>(&command.body)) {
    ObeyStart(node, run, command, *start);
  } else if (const auto* verify = std::get_if<VerifyCommand>(&command.body)) {
    ObeyVerify(node, command, *verify);
  } else if (const auto* save = std::get_if<SaveCommand>(&command.body)) {
    const bool is_missed = step_ >= save->step.value;
    if (!is_missed) {
      words_[node.state.node] = {save->step.value, save->save_seq,
                                 save->then_stop};
    }
    Answer(node, command,
           is_missed ? CommandOutcome::kMissed : CommandOutcome::kDone);
  } else {
    std::erase_if(node.state.runs, [&command](const NodeRunState& r) {
      return r.run == command.run;
    });
    Heartbeat(node);
  }
}

void ScriptedCluster::Answer(Node& node, const Command& command,
                             CommandOutcome outcome,
                             const std::string& message) {
  Report(node, CommandResult{command.command_id,
                             command.run,
                             command.attempt,
                             outcome,
                             message,
                             {}});
}

void ScriptedCluster::ObeyStart(Node& node, NodeRunState& run,
                                const Command& command,
                                const StartCommand& start) {
  if (node.refuses_start) {
    Answer(node, command, CommandOutcome::kRefused,
           "the program is not on the allow-list");
    return;
  }
  if (command.attempt != run.floor || command.attempt <= run.started) {
    Answer(node, command, CommandOutcome::kStaleAttempt);
    return;
  }
  run.started = command.attempt;
  run.ranks.clear();
  for (const RankStart& rank : start.ranks) {
    RankState state;
    state.rank = rank.rank;
    state.local_rank = rank.local_rank;
    state.attempt = command.attempt;
    state.life = RankLife::kAlive;
    state.pid = 1000 + rank.rank.value;
    node.progressed[rank.rank.value] = now_;
    node.stopped[rank.rank.value] = false;
    run.ranks.push_back(state);
  }
  if (training_ != command.attempt) loss_.Begin(start.environment);
  training_ = command.attempt;
  step_ = start.resume_step.value;
  ready_at_ = now_ + FromSeconds(trainer_.startup_seconds);
  words_.clear();
  Heartbeat(node);
  if (!trainer_.fails_to_start) return;
  Later(std::chrono::milliseconds(300), [this, n = &node, r = command.run] {
    for (RankState& rank : n->FindRun(r)->ranks) {
      if (rank.life == RankLife::kExited) continue;
      ExitRank(*n, rank, {1, 0}, "ImportError: no module named model", false,
               false);
    }
  });
}

void ScriptedCluster::ObeyVerify(Node& node, const Command& command,
                                 const VerifyCommand& verify) {
  CommandResult result{command.command_id,    command.run, command.attempt,
                       CommandOutcome::kDone, "",          {}};
  for (const ShardRef& shard : verify.shards) {
    ShardCheck check{shard.rank, shard.path, true, ""};
    for (const auto& [key, error] : bad_files_) {
      const std::string part =
          fmt::format("attempt-{}/step-{}/", key.second, key.first);
      if (shard.path.find(part) == std::string::npos) continue;
      check.ok = false;
      check.error = error;
    }
    result.checks.push_back(check);
  }
  Later(std::chrono::milliseconds(20),
        [this, n = &node, r = std::move(result)] { Report(*n, r); });
}

// --- People.

void ScriptedCluster::Launch(const RunSpec& spec,
                             const std::string& request_id) {
  spec_ = spec;
  LaunchRequested request;
  request.reply_to = ++next_reply_;
  request.request_id = request_id;
  request.actor = "ada";
  request.spec = spec;
  Step(request);
}

void ScriptedCluster::Act(OperatorAction action, const std::string& reason,
                          steadyrun::Step step, const std::string& node,
                          const std::string& request_id) {
  ActionRequested request;
  request.reply_to = ++next_reply_;
  request.request_id = request_id;
  request.actor = "ada";
  request.run = spec_.run;
  request.action = action;
  request.reason = reason;
  request.step = step;
  request.node = node;
  Step(request);
}

}  // namespace steadyrun
