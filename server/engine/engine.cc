#include "server/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <type_traits>
#include <utility>

#include "server/engine/operator_actions.h"
#include "server/engine/run_controller.h"
#include "server/policy/policy_parser.h"

namespace steadyrun {

class Engine::Impl final : public ClusterSource {
 public:
  Impl(const EngineOptions& options, Snapshot snapshot, Now now);

  Outcome Step(Event event, Now now);
  EngineView Picture(Now now) const;
  ClusterView View(Now now) const override;

 private:
  static EngineCore MakeCore(const EngineOptions& options,
                             const Snapshot& snapshot, Sessions* sessions,
                             const ClusterSource* cluster);
  void Restore(Snapshot snapshot, Now now);

  void On(AgentConnected event, Now now, Outcome* out);
  void On(const AgentDisconnected& event, Now now, Outcome* out);
  void On(AgentHeartbeat event, Now now, Outcome* out);
  void On(const AgentReports& event, Now now, Outcome* out);
  void On(const LaunchRequested& event, Now now, Outcome* out);
  void On(const ActionRequested& event, Now now, Outcome* out);
  void On(const Ticked& event, Now now, Outcome* out);

  static std::string_view RunAliveOn(const NodeEntry& node);
  void ObserveNode(NodeEntry& node, Now now, Outcome* out);
  void Finish(Now now, Outcome* out);
  RunController* TakeReport(NodeEntry* node, const ReportBody& body, Now now,
                            Outcome* out);
  static const RunId* RunOf(const ReportBody& body);

  EngineOptions options_;
  std::string server_id_;
  Sessions sessions_;
  EngineCore core_;
  RunMap runs_;
  OperatorActions operators_;
  ReportCounts counts_;
  bool is_superseded_ = false;
};

EngineCore Engine::Impl::MakeCore(const EngineOptions& options,
                                  const Snapshot& snapshot, Sessions* sessions,
                                  const ClusterSource* cluster) {
  EngineCore core;
  core.sessions = sessions;
  core.cluster = cluster;
  core.server_epoch = snapshot.server_epoch;
  core.mutation = options.mutation;
  return core;
}

Engine::Impl::Impl(const EngineOptions& options, Snapshot snapshot, Now now)
    : options_(options),
      server_id_(snapshot.server_id),
      sessions_(snapshot.nodes, snapshot.cursors, now),
      core_(MakeCore(options, snapshot, &sessions_, this)),
      operators_(core_, RequestBook(snapshot.requests), &runs_) {
  Restore(std::move(snapshot), now);
}

void Engine::Impl::Restore(Snapshot snapshot, Now now) {
  for (RunState& state : snapshot.runs) {
    const RunId name = state.spec.run;
    absl::StatusOr<Policy> policy =
        ParsePolicy(state.spec.policy_toml, state.spec.policy_file);
    // It was accepted once; a newer parser may be stricter. Then the defaults
    // serve, rather than that the run is left alone.
    runs_[name] = std::make_unique<RunController>(
        std::move(state), policy.ok() ? *std::move(policy) : DefaultPolicy(),
        core_, /*is_restored=*/true, now);
  }
  for (const Incident& incident : snapshot.open_incidents) {
    auto it = runs_.find(incident.run);
    if (it != runs_.end()) it->second->RestoreIncident(incident, now);
  }
  for (const Checkpoint& checkpoint : snapshot.checkpoints) {
    auto it = runs_.find(checkpoint.run);
    if (it != runs_.end()) it->second->RestoreCheckpoint(checkpoint);
  }
}

// A run whose processes live on a node that no run holds: one that this
// service does not know, or whose node was passed over. Not a spare.
std::string_view Engine::Impl::RunAliveOn(const NodeEntry& node) {
  for (const NodeRunState& run : node.state.runs) {
    for (const RankState& rank : run.ranks) {
      if (rank.life != RankLife::kExited) return run.run;
    }
  }
  return {};
}

ClusterView Engine::Impl::View(Now now) const {
  ClusterView view;
  std::map<std::string_view, std::string_view> serving;
  for (const auto& [name, run] : runs_) {
    for (const NodeAssignment& assignment : run->State().placement) {
      if (run->Holds(assignment.node)) serving[assignment.node] = name;
    }
  }
  view.is_settling =
      now.mono - sessions_.Hearing().SettlingSince() < std::chrono::seconds(3);
  view.nodes.reserve(sessions_.Nodes().size());
  for (const auto& [name, node] : sessions_.Nodes()) {
    NodeFacts facts;
    facts.node = name;
    facts.state = node.has_state ? &node.state : nullptr;
    facts.is_connected = node.IsConnected();
    facts.silence = sessions_.Hearing().Silence(name, now.mono);
    facts.is_quarantined = node.record.is_quarantined;
    auto it = serving.find(name);
    if (it != serving.end()) {
      facts.serving = it->second;
    } else if (node.IsConnected()) {
      facts.serving = RunAliveOn(node);
    }
    view.nodes.push_back(std::move(facts));
  }
  return view;
}

// --- Agents.

void Engine::Impl::On(AgentConnected event, Now now, Outcome* out) {
  const NodeId name = event.hello.state.node;
  if (event.hello.max_server_epoch > core_.server_epoch) {
    out->effects.push_back(CloseSession{
        event.session,
        absl::AbortedError(fmt::format(
            "{} has obeyed server epoch {}, this server's is {}: a newer "
            "server is at work, or this one's store is an old copy",
            name, event.hello.max_server_epoch, core_.server_epoch))});
    if (!is_superseded_) {
      is_superseded_ = true;
      out->effects.push_back(Page{
          "", 0,
          fmt::format("{} obeys a newer server (epoch {} above {}): this one "
                      "is not in command of it",
                      name, event.hello.max_server_epoch, core_.server_epoch)});
    }
    return;
  }
  const Sessions::Opened opened =
      sessions_.Open(event.session, std::move(event.hello.state), now);
  if (opened.node == nullptr) {
    out->effects.push_back(CloseSession{
        event.session, absl::ResourceExhaustedError(fmt::format(
                           "{} nodes are known already, {} is one too many",
                           kMaxNodes, name))});
    return;
  }
  if (opened.replaced.has_value()) {
    out->effects.push_back(
        CloseSession{*opened.replaced,
                     absl::AbortedError(fmt::format(
                         "a newer stream of {} took this one's place", name))});
  }
  NodeEntry& node = *opened.node;
  Welcome welcome;
  welcome.server_epoch = core_.server_epoch;
  welcome.server_id = server_id_;
  // The agent forgets what lies before it: so what is committed, not what has
  // been received. The rest comes again and is known by its number.
  welcome.resume_after = node.acked;
  welcome.heartbeat_interval = options_.heartbeat_interval;
  out->effects.push_back(SendWelcome{event.session, std::move(welcome)});
  out->log.push_back(
      fmt::format("node={} session={} connected resume_after={}{}", name,
                  event.session.value, node.acked.value,
                  opened.is_new_life ? " life=new" : ""));
  if (opened.is_new_life) {
    out->changes.push_back(NodeCursor{name, node.acks.BootId(), node.acked});
  }
  ObserveNode(node, now, out);
  // It may be the one that a run is waiting for.
  for (auto& [run_name, run] : runs_) {
    if (run->State().phase == RunPhase::kPlacing) run->Conclude(now, out);
  }
}

void Engine::Impl::On(const AgentDisconnected& event, Now now, Outcome* out) {
  const NodeEntry* node = sessions_.Close(event.session, now);
  if (node == nullptr) return;
  out->log.push_back(
      fmt::format("node={} session={} disconnected reason=\"{}\"",
                  node->record.node, event.session.value, event.reason));
  for (auto& [name, run] : runs_) {
    if (run->Concerns(*node)) run->Conclude(now, out);
  }
}

void Engine::Impl::On(AgentHeartbeat event, Now now, Outcome* out) {
  NodeEntry* node =
      sessions_.Observe(event.session, std::move(event.state), now);
  if (node != nullptr) ObserveNode(*node, now, out);
}

void Engine::Impl::ObserveNode(NodeEntry& node, Now now, Outcome* out) {
  for (auto& [name, run] : runs_) {
    if (!run->Concerns(node)) continue;
    run->OnHeartbeat(node, now, out);
    run->Conclude(now, out);
    run->SendCommandsTo(node, now, out);
  }
}

const RunId* Engine::Impl::RunOf(const ReportBody& body) {
  return std::visit(
      [](const auto& report) -> const RunId* {
        if constexpr (std::is_same_v<std::decay_t<decltype(report)>, Gap>) {
          return nullptr;
        } else {
          return &report.run;
        }
      },
      body);
}

void Engine::Impl::On(const AgentReports& event, Now now, Outcome* out) {
  NodeEntry* node = sessions_.Find(event.session);
  if (node == nullptr) return;
  sessions_.Hearing().Heard(node->record.node, now.mono);
  std::vector<RunController*> touched;
  for (const Report& report : event.reports) {
    const bool is_new = node->acks.IsNew(report.seq);
    if (!is_new) ++counts_.duplicate;
    if (!is_new && options_.mutation != EngineMutation::kAppliesDuplicates) {
      continue;
    }
    if (is_new) node->acks.Receive(report.seq);
    RunController* run = TakeReport(node, report.body, now, out);
    if (run != nullptr && (touched.empty() || touched.back() != run)) {
      touched.push_back(run);
    }
  }
  sessions_.NoteAckDue(node);
  for (RunController* run : touched) {
    run->Conclude(now, out);
    run->SendCommandsTo(*node, now, out);
  }
}

// The run it is of; null if it is of none that is known here.
RunController* Engine::Impl::TakeReport(NodeEntry* node, const ReportBody& body,
                                        Now now, Outcome* out) {
  if (const auto* gap = std::get_if<Gap>(&body)) {
    ++counts_.gaps;
    counts_.dropped += gap->to.value + 1 - gap->from.value;
    out->log.push_back(fmt::format("node={} reports {} to {} are lost: {}",
                                   node->record.node, gap->from.value,
                                   gap->to.value, gap->reason));
    return nullptr;
  }
  if (const auto* exit = std::get_if<RankExited>(&body)) {
    Sessions::NoteExit(node, *exit);
  }
  auto it = runs_.find(*RunOf(body));
  if (it == runs_.end()) {
    ++counts_.unknown_run;
    return nullptr;
  }
  RunController& run = *it->second;
  // Held before it is handed over: the row it completes may close at once.
  const HeldReport held = node->acks.Hold(node);
  const RunController::Taken taken = run.OnReport(*node, body, held, now, out);
  if (taken != RunController::Taken::kHeld) node->acks.Release(held);
  if (taken == RunController::Taken::kStale) {
    ++counts_.stale;
  } else {
    ++counts_.applied;
  }
  return &run;
}

// --- People and time.

void Engine::Impl::On(const LaunchRequested& event, Now now, Outcome* out) {
  operators_.Launch(event, now, out);
}

void Engine::Impl::On(const ActionRequested& event, Now now, Outcome* out) {
  operators_.Act(event, now, out);
}

void Engine::Impl::On(const Ticked&, Now now, Outcome* out) {
  const bool is_late = sessions_.Hearing().Tick(now.mono);
  if (is_late)
    out->log.push_back("tick late: what was not heard means nothing");
  for (auto& [name, run] : runs_) {
    if (run->IsAtRest(now)) continue;
    if (is_late) run->OnLateTick(now);
    run->OnTick(now, out);
    run->Conclude(now, out);
  }
}

void Engine::Impl::Finish(Now now, Outcome* out) {
  (void)now;
  for (NodeEntry* node : sessions_.TakeRecordDue()) {
    out->changes.push_back(node->record);
  }
  for (NodeEntry* node : sessions_.TakeAckDue()) {
    ReportSeq applied = node->acks.Applied();
    if (options_.mutation == EngineMutation::kAckBeforeCommit) {  // Mutation.
      applied = node->acks.Received();
    }
    if (applied <= node->acked) continue;
    node->acked = applied;
    out->changes.push_back(
        NodeCursor{node->record.node, node->acks.BootId(), applied});
    if (node->IsConnected()) {
      out->effects.push_back(AckReports{node->session, applied});
    }
  }
}

Outcome Engine::Impl::Step(Event event, Now now) {
  Outcome out;
  std::visit([&](auto&& e) { On(std::move(e), now, &out); }, std::move(event));
  Finish(now, &out);
  return out;
}

EngineView Engine::Impl::Picture(Now now) const {
  EngineView view;
  view.sessions = sessions_.Count();
  view.reports = counts_;
  for (const auto& [name, run] : runs_) view.runs.push_back(run->View(now));
  const ClusterView cluster = View(now);
  for (const NodeFacts& facts : cluster.nodes) {
    const NodeEntry& entry = *sessions_.FindNode(facts.node);
    NodeView node;
    node.state = entry.state;
    node.state.node = facts.node;
    node.heard_age = facts.silence;
    node.serving_run = RunId(facts.serving);
    node.quarantine_reason = entry.record.quarantine_reason;
    node.incidents = entry.record.incidents;
    if (!facts.is_connected) {
      node.status =
          facts.silence > std::chrono::seconds(60) ? "lost" : "silent";
    } else {
      node.status =
          facts.silence > std::chrono::seconds(3) ? "silent" : "connected";
    }
    if (facts.is_quarantined) node.status = "quarantined";
    view.nodes.push_back(std::move(node));
  }
  return view;
}

Engine::Engine(const EngineOptions& options, Snapshot snapshot, Now now)
    : impl_(std::make_unique<Impl>(options, std::move(snapshot), now)) {}

Engine::~Engine() = default;

Outcome Engine::Step(Event event, Now now) {
  return impl_->Step(std::move(event), now);
}

EngineView Engine::View(Now now) const { return impl_->Picture(now); }

}  // namespace steadyrun
