#include "tests/simulation/sim_network.h"

#include <algorithm>
#include <utility>

namespace steadyrun::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// How often a paused reader, or a cut link, is looked at again by a notice.
constexpr Duration kRetry = seconds(1);

}  // namespace

Duration SimNetwork::Delay() {
  const FaultOptions& faults = context_.faults;
  if (context_.random.Chance(faults.slow_message)) {
    return context_.random.Time(faults.delay_max, seconds(2));
  }
  return context_.random.Time(faults.delay_min, faults.delay_max);
}

// When an end learns that the other one has closed: by its word, or, if that
// cannot come through, by itself.
Duration SimNetwork::GiveUp(bool is_cut) {
  return is_cut ? context_.random.Time(context_.faults.keepalive_min,
                                       context_.faults.keepalive_max)
                : Delay();
}

SimNetwork::Stream* SimNetwork::Find(StreamId id) {
  const auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : &it->second;
}

StreamId SimNetwork::StreamOf(int node) const {
  for (auto it = streams_.rbegin(); it != streams_.rend(); ++it) {
    if (it->second.node == node && it->second.agent_open) return it->first;
  }
  return 0;
}

void SimNetwork::Connect(int node) {
  const bool is_cut = IsCut(node);
  const Duration wait =
      is_cut ? context_.random.Time(seconds(1), seconds(5)) : 2 * Delay();
  context_.queue.After(wait, [this, node, is_cut] {
    if (is_cut || IsCut(node) || !server_->IsListening()) {
      agents_[node]->OnConnectFailed();
      return;
    }
    const StreamId id = next_++;
    streams_[id].node = node;
    server_->OnStreamToServer(id, node);
    agents_[node]->OnStreamOpened(id);
  });
}

void SimNetwork::SendToServer(StreamId id, ToServer message) {
  Stream* stream = Find(id);
  if (stream == nullptr || !stream->agent_open || !stream->server_open) return;
  if (stream->is_broken) return;
  Pipe<ToServer>& pipe = stream->up;
  pipe.last = std::max(pipe.last, context_.now() + Delay());
  pipe.messages.emplace_back(pipe.last, std::move(message));
  largest_backlog_ = std::max(largest_backlog_, pipe.messages.size());
  if (!pipe.is_pumping) PumpUp(id);
}

void SimNetwork::SendToAgent(StreamId id, ToAgent message) {
  Stream* stream = Find(id);
  if (stream == nullptr || !stream->agent_open || !stream->server_open) return;
  if (stream->is_broken) return;
  Pipe<ToAgent>& pipe = stream->down;
  pipe.last = std::max(pipe.last, context_.now() + Delay());
  pipe.messages.emplace_back(pipe.last, std::move(message));
  largest_backlog_ = std::max(largest_backlog_, pipe.messages.size());
  if (!pipe.is_pumping) PumpDown(id);
}

void SimNetwork::PumpUp(StreamId id) {
  while (true) {
    Stream* stream = Find(id);
    if (stream == nullptr) return;
    Pipe<ToServer>& pipe = stream->up;
    pipe.is_pumping = false;
    if (!stream->server_open || pipe.messages.empty()) return;
    if (links_[stream->node].up || !server_->IsReading()) return;
    const Duration due = pipe.messages.front().first;
    if (due > context_.now()) {
      pipe.is_pumping = true;
      context_.queue.At(due, [this, id] { PumpUp(id); });
      return;
    }
    ToServer message = std::move(pipe.messages.front().second);
    pipe.messages.pop_front();
    pipe.is_pumping = true;  // Nobody else pumps while this one delivers.
    server_->OnMessage(id, std::move(message));
  }
}

void SimNetwork::PumpDown(StreamId id) {
  while (true) {
    Stream* stream = Find(id);
    if (stream == nullptr) return;
    Pipe<ToAgent>& pipe = stream->down;
    pipe.is_pumping = false;
    if (!stream->agent_open || pipe.messages.empty()) return;
    AgentEnd* agent = agents_[stream->node];
    if (links_[stream->node].down || !agent->IsReading()) return;
    const Duration due = pipe.messages.front().first;
    if (due > context_.now()) {
      pipe.is_pumping = true;
      context_.queue.At(due, [this, id] { PumpDown(id); });
      return;
    }
    ToAgent message = std::move(pipe.messages.front().second);
    pipe.messages.pop_front();
    pipe.is_pumping = true;
    agent->OnMessage(id, std::move(message));
  }
}

void SimNetwork::WakePumps(int node) {
  std::vector<StreamId> ids;
  for (const auto& [id, stream] : streams_) {
    if (node < 0 || stream.node == node) ids.push_back(id);
  }
  for (const StreamId id : ids) {
    if (Stream* stream = Find(id); stream != nullptr) {
      if (!stream->up.is_pumping) PumpUp(id);
    }
    if (Stream* stream = Find(id); stream != nullptr) {
      if (!stream->down.is_pumping) PumpDown(id);
    }
  }
}

void SimNetwork::WakeAgent(int node) { WakePumps(node); }
void SimNetwork::WakeServer() { WakePumps(-1); }

void SimNetwork::DropIfClosed(StreamId id) {
  const Stream* stream = Find(id);
  if (stream != nullptr && !stream->agent_open && !stream->server_open) {
    streams_.erase(id);
  }
}

void SimNetwork::TellServer(StreamId id, Duration delay) {
  context_.queue.After(delay, [this, id] {
    Stream* stream = Find(id);
    if (stream == nullptr || !stream->server_open) return;
    if (!server_->IsReading()) {
      TellServer(id, kRetry);
      return;
    }
    // A graceful close comes after what was sent before it.
    if (!stream->up.messages.empty() && !links_[stream->node].up) {
      TellServer(id, milliseconds(5));
      return;
    }
    stream->server_open = false;
    if (stream->agent_open) TellAgent(id, GiveUp(links_[stream->node].down));
    DropIfClosed(id);
    server_->OnServerStreamClosed(id);
  });
}

void SimNetwork::TellAgent(StreamId id, Duration delay) {
  context_.queue.After(delay, [this, id] {
    Stream* stream = Find(id);
    if (stream == nullptr || !stream->agent_open) return;
    AgentEnd* agent = agents_[stream->node];
    if (!agent->IsReading()) {
      TellAgent(id, kRetry);
      return;
    }
    if (!stream->down.messages.empty() && !links_[stream->node].down) {
      TellAgent(id, milliseconds(5));
      return;
    }
    stream->agent_open = false;
    if (stream->server_open) TellServer(id, GiveUp(links_[stream->node].up));
    DropIfClosed(id);
    agent->OnAgentStreamClosed(id);
  });
}

void SimNetwork::CloseFromAgent(StreamId id, bool is_abrupt) {
  Stream* stream = Find(id);
  if (stream == nullptr || !stream->agent_open) return;
  stream->agent_open = false;
  stream->down.messages.clear();
  if (is_abrupt) stream->up.messages.clear();
  if (!stream->server_open) {
    DropIfClosed(id);
    return;
  }
  TellServer(id, GiveUp(links_[stream->node].up));
}

void SimNetwork::CloseFromServer(StreamId id, bool is_abrupt) {
  Stream* stream = Find(id);
  if (stream == nullptr || !stream->server_open) return;
  stream->server_open = false;
  stream->up.messages.clear();
  if (is_abrupt) stream->down.messages.clear();
  if (!stream->agent_open) {
    DropIfClosed(id);
    return;
  }
  TellAgent(id, GiveUp(links_[stream->node].down));
}

void SimNetwork::ServerDied() {
  std::vector<StreamId> ids;
  for (const auto& [id, stream] : streams_) ids.push_back(id);
  for (const StreamId id : ids)
    CloseFromServer(id, context_.random.Chance(0.5));
}

void SimNetwork::NodeVanished(int node) {
  std::vector<StreamId> ids;
  for (const auto& [id, stream] : streams_) {
    if (stream.node == node) ids.push_back(id);
  }
  const FaultOptions& faults = context_.faults;
  for (const StreamId id : ids) {
    Stream* stream = Find(id);
    stream->agent_open = false;
    stream->up.messages.clear();
    stream->down.messages.clear();
    if (stream->server_open) {
      TellServer(
          id, context_.random.Time(faults.keepalive_min, faults.keepalive_max));
    }
    DropIfClosed(id);
  }
}

void SimNetwork::Cut(int node, bool up, bool down) {
  Link& link = links_[node];
  link.up = link.up || up;
  link.down = link.down || down;
  const std::uint64_t token = ++link.cut_token;
  const FaultOptions& faults = context_.faults;
  // Each end gives up by itself, if it lasts, and not at the same moment.
  for (const bool is_agent : {true, false}) {
    const Duration patience =
        context_.random.Time(faults.keepalive_min, faults.keepalive_max);
    context_.queue.After(patience, [this, node, token, is_agent] {
      if (links_[node].cut_token != token) return;
      std::vector<StreamId> ids;
      for (const auto& [id, stream] : streams_) {
        if (stream.node == node) ids.push_back(id);
      }
      for (const StreamId id : ids) {
        Stream* stream = Find(id);
        if (stream == nullptr) continue;
        stream->is_broken = true;
        if (is_agent) {
          stream->down.messages.clear();
          TellAgent(id, Duration(0));
        } else {
          stream->up.messages.clear();
          TellServer(id, Duration(0));
        }
      }
    });
  }
}

void SimNetwork::Heal(int node) {
  Link& link = links_[node];
  if (!link.up && !link.down) return;
  link.up = link.down = false;
  ++link.cut_token;
  WakePumps(node);
}

void SimNetwork::Reset(int node) {
  std::vector<StreamId> ids;
  for (const auto& [id, stream] : streams_) {
    if (stream.node == node) ids.push_back(id);
  }
  for (const StreamId id : ids) {
    Stream* stream = Find(id);
    stream->is_broken = true;
    stream->up.messages.clear();
    stream->down.messages.clear();
    TellAgent(id, context_.random.Time(milliseconds(1), seconds(5)));
    TellServer(id, context_.random.Time(milliseconds(1), seconds(5)));
  }
}

}  // namespace steadyrun::sim
