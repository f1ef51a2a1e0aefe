#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <variant>
#include <vector>

#include "proto/messages/messages.h"
#include "tests/simulation/context.h"

namespace steadyrun::sim {

using StreamId = std::uint64_t;  // 0: none.

struct AckMessage {
  ReportSeq seq;
};
using ToServer = std::variant<Hello, NodeState, std::vector<Report>>;
using ToAgent = std::variant<Welcome, AckMessage, Command>;

// The two ends of the network, as the simulation's machines implement them.
class ServerEnd {
 public:
  virtual ~ServerEnd() = default;
  virtual bool IsListening() const = 0;  // Process is there, or paused.
  virtual bool IsReading() const = 0;    // Process runs.
  virtual void OnStreamToServer(StreamId stream, int node) = 0;
  virtual void OnMessage(StreamId stream, ToServer message) = 0;
  virtual void OnServerStreamClosed(StreamId stream) = 0;
};
class AgentEnd {
 public:
  virtual ~AgentEnd() = default;
  virtual bool IsReading() const = 0;
  virtual void OnStreamOpened(StreamId stream) = 0;
  virtual void OnConnectFailed() = 0;
  virtual void OnMessage(StreamId stream, ToAgent message) = 0;
  virtual void OnAgentStreamClosed(StreamId stream) = 0;
};

// gRPC as the product sees it: one ordered stream per session and direction.
// Messages of a stream come in order until it breaks, and then its tail is
// lost; either end may learn of that much later than the other. A link that is
// cut holds messages back (TCP sends again) until it heals or an end gives up.
class SimNetwork {
 public:
  explicit SimNetwork(SimContext& context) : context_(context) {}
  void SetServer(ServerEnd* server) { server_ = server; }
  void AddAgent(AgentEnd* agent) {
    agents_.push_back(agent);
    links_.emplace_back();
  }

  // Answers with OnStreamOpened or OnConnectFailed.
  void Connect(int node);
  void SendToServer(StreamId stream, ToServer message);
  void SendToAgent(StreamId stream, ToAgent message);

  // The caller's end is closed at once; the other end learns later. An abrupt
  // close loses what is still on its way.
  void CloseFromAgent(StreamId stream, bool is_abrupt);
  void CloseFromServer(StreamId stream, bool is_abrupt);
  // The server's process is gone: all its ends close.
  void ServerDied();
  // Power is off: nothing says goodbye.
  void NodeVanished(int node);

  // Cuts directions until healed. Streams may break by keepalive meanwhile.
  void Cut(int node, bool up, bool down);
  void Heal(int node);
  bool IsCut(int node) const { return links_[node].up || links_[node].down; }
  // The network resets the node's stream (a middlebox, a route change).
  void Reset(int node);
  // The reader of an end runs again.
  void WakeAgent(int node);
  void WakeServer();

  StreamId StreamOf(int node) const;  // Newest with an open agent end; 0 none.
  std::size_t LargestBacklog() const { return largest_backlog_; }

 private:
  template <typename Message>
  struct Pipe {
    std::deque<std::pair<Duration, Message>> messages;
    Duration last{};
    bool is_pumping = false;
  };
  struct Stream {
    int node = 0;
    bool agent_open = true;
    bool server_open = true;
    bool is_broken = false;  // What is sent now is lost; nobody knows yet.
    Pipe<ToServer> up;
    Pipe<ToAgent> down;
  };
  struct Link {
    bool up = false;
    bool down = false;
    std::uint64_t cut_token = 0;
  };

  Duration Delay();
  Duration GiveUp(bool is_cut);
  void PumpUp(StreamId id);
  void PumpDown(StreamId id);
  void WakePumps(int node);
  void TellAgent(StreamId id, Duration delay);
  void TellServer(StreamId id, Duration delay);
  void DropIfClosed(StreamId id);
  Stream* Find(StreamId id);

  SimContext& context_;
  ServerEnd* server_ = nullptr;
  std::vector<AgentEnd*> agents_;
  std::vector<Link> links_;
  std::map<StreamId, Stream> streams_;
  StreamId next_ = 1;
  std::size_t largest_backlog_ = 0;
};

}  // namespace steadyrun::sim
