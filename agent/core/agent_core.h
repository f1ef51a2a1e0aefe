#pragma once

// The agent's whole mind, pure: fencing, at-most-once start, resend, and what
// a heartbeat says. No clock, thread, I/O, log or random source.
//
// Rules it keeps (docs/architecture.md, "The agent's promises"):
//  - A command of an older epoch, or of another instance at the epoch obeyed,
//    is refused. A newer epoch is persisted before it is obeyed.
//  - Stop raises the floor, persisted before the first kill.
//  - Start is executed iff attempt == floor, attempt > started, no older
//    process lives here, and boot_id matches; `started` is persisted before
//    the fork. So a start happens at most once, for ever.
//  - Losing the server changes nothing for the ranks.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/effect.h"
#include "agent/core/event.h"
#include "base/clock.h"

namespace steadyrun::agent {

// Deliberate defects for the tests that test the simulation.
enum class CoreMutation {
  kNone,
  kKillBeforeFencePersisted,
  kSpawnBeforeStartedPersisted,
  kNoEpochCheck,
  kNoBootCheck,
  kStartsBesideOlderAttempt,
  kStoppedBeforeDead,  // Reports ranks as exited when the signal was sent.
  kDropsUnackedReports,
  kKillsRanksWhenServerIsLost,
};

struct CoreOptions {
  NodeId node;
  std::string kernel_boot_id;
  std::string address;
  std::string metrics_address;  // Empty: not served.
  std::int32_t agent_pid = 0;
  Incarnation incarnation;
  std::string version;
  std::string token;
  // Programs that Start may launch (argv[0]): an exact path, or a folder
  // ending in '/'. Nothing: any program.
  std::optional<std::vector<std::string>> launch_allow;
  CoreMutation mutation = CoreMutation::kNone;
};

class AgentCore {
 public:
  // `survivors`: ranks found alive (or their exit records unread) on disk at
  // start, so that a restarted agent takes them over again.
  AgentCore(CoreOptions options, DurableState durable,
            std::vector<NodeRunState> survivors, ReportSeq last_spooled,
            ReportSeq oldest_spooled, Now now);
  ~AgentCore();
  AgentCore(const AgentCore&) = delete;
  AgentCore& operator=(const AgentCore&) = delete;

  [[nodiscard]] Outcome Step(Event event, Now now);

  // The free port held for the next attempt; changes when one is used.
  void SetRendezvousPort(std::int32_t port);
  NodeState State(Now now) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun::agent
