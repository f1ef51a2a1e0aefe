#pragma once

// Inside of AgentCore, split over agent_core.cc (events), commands.cc (what
// the server orders) and reporting.cc (what the server is told).

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/core/agent_core.h"
#include "agent/core/answers.h"
#include "agent/core/fence.h"
#include "agent/core/run_table.h"

namespace steadyrun::agent {

class AgentCore::Impl {
 public:
  Impl(CoreOptions options, DurableState durable,
       std::vector<NodeRunState> survivors, ReportSeq last_spooled,
       ReportSeq oldest_spooled, Now now);

  Outcome Step(Event event, Now now);
  void SetRendezvousPort(std::int32_t port);
  NodeState State(Now now) const;

 private:
  // One stream to the server. Commands are bound to it.
  struct Session {
    std::uint64_t serial = 0;
    bool is_open = false;
    bool is_welcomed = false;
    std::uint64_t epoch = 0;
    std::string server_id;
    Duration heartbeat_interval{};
    MonoTime next_heartbeat;
  };
  struct Waiting {
    Command command;
    std::uint64_t session = 0;
    MonoTime received;
  };
  // The one write of the state that may be under way.
  struct Write {
    std::uint64_t ticket = 0;
    DurableState state;
    std::optional<Waiting> cause;  // Nothing: an epoch, or room for seqs.
  };
  struct Refusal {
    CommandOutcome outcome = CommandOutcome::kRefused;
    std::string message;
  };
  struct Starting {
    std::string command_id;
    RunId run;
    AttemptId attempt;
    std::size_t unanswered = 0;
  };
  struct KillOrder {
    AttemptId below;
    MonoTime kill_at;  // SIGKILL, when the grace is over.
    MonoTime ordered_at;
  };

  // --- agent_core.cc: one handler an event.
  void On(const StreamOpened& event);
  void On(const StreamClosed& event);
  void On(const WelcomeReceived& event);
  void On(const AckReceived& event);
  void On(const CommandReceived& event);
  void On(const RankSpawned& event);
  void On(const RankSpawnFailed& event);
  void On(const RankGone& event);
  void On(const RankObserved& event);
  void On(const StepsRead& event);
  void On(const ShardHashed& event);
  void On(const ShardFoundBad& event);
  void On(const RankSaidFinished& event);
  void On(const SaveWordWritten& event);
  void On(const ShardsVerified& event);
  void On(const StatePersisted& event);
  void On(const StatePersistFailed& event);
  void On(const SpoolStateChanged& event);
  void On(const Ticked& event);
  bool HasLiveOrphans() const;
  void RefuseStream(std::string reason);

  // --- commands.cc
  bool IsCurrent(const Waiting& waiting) const;
  void Consider(Waiting waiting);
  void ConsiderWaiting();
  // Puts what the command changes into `state`, or says why it is refused.
  std::optional<Refusal> Plan(const Command& command, DurableState& state);
  std::optional<Refusal> PlanStop(const Command& command, DurableState& state);
  std::optional<Refusal> PlanStart(const Command& command,
                                   const StartCommand& start,
                                   DurableState& state);
  std::optional<Refusal> PlanSave(const Command& command,
                                  const SaveCommand& save) const;
  std::optional<Refusal> PlanForget(const Command& command,
                                    DurableState& state) const;
  Refusal JudgeRepeatedStart(const Command& command, const StartCommand& start);
  bool MayLaunch(const StartCommand& start) const;
  void Persist(DurableState state, std::optional<Waiting> cause);
  void PersistWhatIsDue();
  void Perform(const Waiting& waiting);
  void Spawn(const Command& command, const StartCommand& start);
  void OrderKill(const RunId& run, AttemptId below, Duration grace);
  void RepeatKills();

  // --- reporting.cc
  void Append(ReportBody body);
  // What an answer is about; a Command or an event of an adapter.
  template <typename Source>
  void Answer(const Source& source, CommandOutcome outcome,
              std::string message = {}) {
    CommandResult result;
    result.command_id = source.command_id;
    result.run = source.run;
    result.attempt = source.attempt;
    result.outcome = outcome;
    result.message = std::move(message);
    Answer(std::move(result));
  }
  void Answer(CommandResult result);
  void ReportExit(RankExited exit);
  void ResumeReports(ReportSeq resume_after);
  void BeatIfDue();
  void Log(std::string line) { out_.log.push_back(std::move(line)); }
  bool Is(CoreMutation mutation) const { return options_.mutation == mutation; }

  const CoreOptions options_;
  const std::string boot_id_;
  DurableState durable_;  // What is on disk.
  RunTable table_;
  Answers answers_;
  Session session_;
  std::uint64_t sessions_ = 0;
  std::deque<Waiting> waiting_;
  std::optional<Write> write_;
  std::uint64_t next_ticket_ = 1;
  MonoTime retry_write_at_;
  std::map<RunId, Starting> starting_;
  std::map<RunId, KillOrder> kills_;
  // Runs alive here of which the fence is lost: they are killed before the
  // server hears the new boot_id, which says that nothing of before lives.
  std::vector<RunId> orphans_;
  ReportSeq next_seq_;
  ReportSeq oldest_;  // In the spool; next_seq_ when it is empty.
  ReportSeq acked_;
  SpoolStateChanged spool_;
  std::int32_t rendezvous_port_ = 0;
  bool is_beat_urgent_ = false;

  Now now_;      // Of the Step under way.
  Outcome out_;  // Of the Step under way.
};

}  // namespace steadyrun::agent
