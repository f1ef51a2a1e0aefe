// What agents and invariants see of the simulated processes.

#include <utility>
#include <vector>

#include "tests/simulation/sim_cluster.h"

namespace steadyrun::sim {

RankState SimCluster::Observe(const Process& process) const {
  RankState state;
  state.rank = process.rank;
  state.local_rank = process.local_rank;
  state.attempt = process.attempt;
  state.life = process.is_attached ? RankLife::kAlive : RankLife::kStarting;
  state.pid = process.pid;
  state.step = process.step;
  state.phase = process.phase;
  state.phase_age = context_.now() - process.phase_since;
  state.progress_age = context_.now() - process.progress_since;
  state.phase_seq = process.phase_seq;
  state.process_state = process.is_stopped ? 'T' : 'S';
  state.save_ack_seq = process.save_ack_seq;
  state.cpu_seconds = process.cpu_seconds;
  return state;
}

std::vector<int> SimCluster::LiveOn(int node) const {
  std::vector<int> found;
  for (const int id : live_) {
    if (processes_[id].node == node) found.push_back(id);
  }
  return found;
}

std::vector<RecorderEvent> SimCluster::TakeRecorderEvents(int node) {
  std::vector<RecorderEvent> ready;
  auto& events = nodes_[node].recorder;
  // In order, as the agent reads each rank's ring; one not hashed yet holds
  // back only what comes after it.
  while (!events.empty() && events.front().ready <= context_.now()) {
    ready.push_back(std::move(events.front().event));
    events.pop_front();
  }
  return ready;
}

void SimCluster::ReturnRecorderEvents(int node,
                                      std::vector<RecorderEvent> events) {
  auto& recorder = nodes_[node].recorder;
  for (auto it = events.rbegin(); it != events.rend(); ++it) {
    recorder.push_front({context_.now(), std::move(*it)});
  }
}

}  // namespace steadyrun::sim
