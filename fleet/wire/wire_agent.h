#pragma once

// A simulated agent: the mind of the real one (agent/core) with simulated
// processes and disk, on a real stream to a real server. So it fences, starts
// at most once, resends what was not acknowledged and obeys as real agents do.
//
// Used by WireFleet's thread alone.

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/agent_core.h"
#include "agent/transport/link_inbox.h"
#include "agent/transport/server_stream.h"
#include "base/clock.h"

namespace steadyrun::fleet {

// What an agent asks of the simulated machines. Answers come through the
// agent's own methods, at once or later.
class Machines {
 public:
  virtual ~Machines() = default;
  virtual void Spawn(std::int32_t agent, const agent::SpawnRank& spawn) = 0;
  virtual void Kill(std::int32_t agent, const agent::KillRanks& kill) = 0;
  // False: a rank has passed that step.
  virtual bool OrderSave(const agent::WriteSaveWord& word) = 0;
  virtual void Forget(std::int32_t agent) = 0;
};

struct WireAgentOptions {
  std::int32_t index = 0;
  NodeId name;
  std::string token;
  std::uint64_t seed = 0;
};

class WireAgent {
 public:
  WireAgent(WireAgentOptions options, Machines* machines,
            v1::AgentService::Stub* stub,
            std::shared_ptr<agent::LinkInbox> inbox);

  const NodeId& Name() const { return options_.name; }
  bool IsRunning() const { return core_ != nullptr; }
  bool IsWelcome() const { return is_welcome_; }

  // The agent's process begins, with what it finds alive of before.
  void Start(std::vector<NodeRunState> survivors, Now now);
  // It is killed: the stream breaks, the disk stays.
  void Crash();
  // So that the machine's next life has another boot id.
  void Reboot() { ++boots_; }
  // Ends the stream and waits until gRPC has let go of it.
  void Stop();

  // Of the machines. Kept while the agent is down, as recorders and exit
  // records would.
  void Tell(agent::Event event, Now now);
  // Of the stream.
  void OnLink(std::uint64_t stream, agent::LinkEvent event, Now now);
  // Deadlines, the connection, and whatever can be sent now.
  void Poll(Now now);

  std::uint64_t SaveAck() const { return save_seq_; }

 private:
  // Bounds what a down agent or a dead server lets pile up; the oldest step
  // blocks go first, as in a full spool.
  static constexpr std::size_t kMaxKept = 4096;
  static constexpr std::size_t kReportsPerMessage = 64;

  void Step(agent::Event event, Now now);
  void Perform(const agent::Effect& effect, Now now);
  void Connect(Now now);
  void Append(Report report);
  void Flush();

  const WireAgentOptions options_;
  Machines* const machines_;
  v1::AgentService::Stub* const stub_;
  const std::shared_ptr<agent::LinkInbox> inbox_;

  std::unique_ptr<agent::AgentCore> core_;
  agent::DurableState disk_;
  std::deque<Report> spool_;
  ReportSeq last_spooled_;
  std::uint64_t dropped_ = 0;
  int boots_ = 1;
  std::uint64_t lives_ = 0;
  std::deque<agent::Event> kept_;     // While the agent is down.
  std::deque<agent::Event> answers_;  // Of effects, for after the step.

  std::shared_ptr<agent::ServerStream> stream_;
  // The newest that was cancelled: gRPC may still be busy with it.
  std::shared_ptr<agent::ServerStream> cancelled_;
  std::uint64_t streams_ = 0;
  bool is_welcome_ = false;
  int failures_ = 0;
  MonoTime next_try_;
  ReportSeq sent_through_;
  std::optional<Hello> hello_;
  std::optional<NodeState> heartbeat_;
  std::uint64_t save_seq_ = 0;
};

}  // namespace steadyrun::fleet
