#include "tests/simulation/sim_disk.h"

#include <fmt/format.h>

#include <variant>

namespace steadyrun::sim {
namespace {

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

void ServerStore::Apply(const std::vector<Change>& changes, MonoTime now) {
  ++totals_.commits;
  for (const Change& change : changes) ApplyOne(change, now);
}

void ServerStore::ApplyOne(const Change& change, MonoTime now) {
  std::visit(Overloaded{
                 [&](const RunState& state) {
                   runs_[state.spec.run] = StoredRun{state, now};
                 },
                 [&](const Incident& incident) {
                   incidents_[{incident.run, incident.number}] = incident;
                 },
                 [&](const Checkpoint& checkpoint) {
                   checkpoints_[{checkpoint.run, checkpoint.attempt,
                                 checkpoint.step}] = checkpoint;
                 },
                 [&](const NodeRecord& node) { nodes_[node.node] = node; },
                 [&](const NodeCursor& cursor) {
                   cursors_[{cursor.node, cursor.boot_id}] = cursor;
                 },
                 [&](const StepRow&) { ++totals_.step_rows; },
                 [&](const Decision&) { ++totals_.decisions; },
                 [&](const AuditEntry& entry) { audit_.push_back(entry); },
                 [&](const RequestDone& request) {
                   requests_[request.request_id] = request.reply;
                 },
                 [&](const RankFailed&) { ++totals_.rank_exits; },
                 [](const Mute&) {},  // Of concern to people only.
                 [](const Page&) {},
             },
             change);
}

Snapshot ServerStore::Load(Now now) {
  Snapshot snapshot;
  snapshot.server_epoch = ++epoch_;
  snapshot.server_id = fmt::format("sim-server-{}", epoch_);
  for (auto& [name, stored] : runs_) {
    const Duration shift = now.mono - stored.saved;
    RunState state = stored.state;
    state.phase_since.mono += shift;
    if (state.phase_deadline != MonoTime::max()) state.phase_deadline += shift;
    for (RestartRecord& record : state.restarts) record.at_mono += shift;
    snapshot.runs.push_back(std::move(state));
  }
  for (const auto& [key, incident] : incidents_) {
    if (incident.state == IncidentState::kOpen) {
      snapshot.open_incidents.push_back(incident);
    }
  }
  for (const auto& [key, checkpoint] : checkpoints_) {
    const RunState* run = FindRun(checkpoint.run);
    if (run != nullptr && !IsEnded(run->phase)) {
      snapshot.checkpoints.push_back(checkpoint);
    }
  }
  for (const auto& [name, node] : nodes_) snapshot.nodes.push_back(node);
  for (const auto& [key, cursor] : cursors_) {
    snapshot.cursors.push_back(cursor);
  }
  for (const auto& request : requests_) snapshot.requests.push_back(request);
  return snapshot;
}

const RunState* ServerStore::FindRun(const RunId& run) const {
  const auto it = runs_.find(run);
  return it == runs_.end() ? nullptr : &it->second.state;
}

const Incident* ServerStore::FindIncident(const RunId& run,
                                          std::int64_t number) const {
  const auto it = incidents_.find({run, number});
  return it == incidents_.end() ? nullptr : &it->second;
}

const Checkpoint* ServerStore::FindCheckpoint(const RunId& run,
                                              AttemptId attempt,
                                              Step step) const {
  const auto it = checkpoints_.find({run, attempt, step});
  return it == checkpoints_.end() ? nullptr : &it->second;
}

ReportSeq ServerStore::AckedOf(const NodeId& node,
                               const std::string& boot_id) const {
  const auto it = cursors_.find({node, boot_id});
  return it == cursors_.end() ? ReportSeq{0} : it->second.acked;
}

}  // namespace steadyrun::sim
