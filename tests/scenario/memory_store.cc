#include "tests/scenario/memory_store.h"

#include <tuple>
#include <type_traits>

#include "server/recovery/phase_change.h"

namespace steadyrun {
namespace {

MonoTime Rebase(MonoTime time, MonoTime saved_at, MonoTime now) {
  if (time == MonoTime::max() || time == MonoTime::min()) return time;
  return now + (time - saved_at);
}

}  // namespace

void MemoryStore::Apply(const std::vector<Change>& changes, Now now) {
  for (const Change& change : changes) {
    std::visit(
        [&](const auto& c) {
          using T = std::decay_t<decltype(c)>;
          if constexpr (std::is_same_v<T, RunState>) {
            runs_[c.spec.run] = c;
          } else if constexpr (std::is_same_v<T, Incident>) {
            incidents_[c.Id()] = c;
          } else if constexpr (std::is_same_v<T, Checkpoint>) {
            checkpoints_[{c.run, c.step, c.attempt}] = c;
          } else if constexpr (std::is_same_v<T, NodeRecord>) {
            nodes_[c.node] = c;
          } else if constexpr (std::is_same_v<T, NodeCursor>) {
            cursors_[{c.node, c.boot_id}] = c.acked;
            lives_[c.node] = c.boot_id;
          } else if constexpr (std::is_same_v<T, StepRow>) {
            rows_.push_back(c);
          } else if constexpr (std::is_same_v<T, Decision>) {
            decisions_.push_back(c);
          } else if constexpr (std::is_same_v<T, AuditEntry>) {
            audit_.push_back(c);
          } else if constexpr (std::is_same_v<T, RequestDone>) {
            requests_.emplace_back(c.request_id, c.reply);
          } else {
            static_assert(std::is_same_v<T, RankFailed> ||
                          std::is_same_v<T, Mute> || std::is_same_v<T, Page>);
          }
        },
        change);
  }
  saved_at_ = now;
}

Snapshot MemoryStore::Load(Now now) {
  Snapshot snapshot;
  snapshot.server_epoch = ++epoch_;
  snapshot.server_id = "scenario";
  for (const auto& [name, state] : runs_) {
    RunState run = state;
    run.phase_since.mono =
        Rebase(run.phase_since.mono, saved_at_.mono, now.mono);
    run.phase_deadline = Rebase(run.phase_deadline, saved_at_.mono, now.mono);
    for (RestartRecord& record : run.restarts) {
      record.at_mono = Rebase(record.at_mono, saved_at_.mono, now.mono);
    }
    snapshot.runs.push_back(std::move(run));
  }
  for (const auto& [id, incident] : incidents_) {
    if (incident.state == IncidentState::kOpen) {
      snapshot.open_incidents.push_back(incident);
    }
  }
  for (const auto& [key, checkpoint] : checkpoints_) {
    auto it = runs_.find(checkpoint.run);
    if (it != runs_.end() && !IsEnded(it->second.phase)) {
      snapshot.checkpoints.push_back(checkpoint);
    }
  }
  for (const auto& [name, node] : nodes_) snapshot.nodes.push_back(node);
  for (const auto& [node, life] : lives_) {
    snapshot.cursors.push_back({node, life, cursors_[{node, life}]});
  }
  snapshot.requests = requests_;
  return snapshot;
}

}  // namespace steadyrun
