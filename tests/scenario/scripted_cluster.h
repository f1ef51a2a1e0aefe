#pragma once

// A small cluster for golden scenarios: the real engine, and nodes with a
// trainer that behave as agents and ranks do, simply and exactly. Messages
// take kLatency each way. The trainer is synchronous: a step is completed by
// all ranks or by none.
//
// Not a simulation (tests/simulation has the product's own agent, faults and
// invariants); here a reviewer reads what the service does, as prose.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "tests/scenario/memory_store.h"
#include "tests/scenario/scripted_loss.h"

namespace steadyrun {

class ScriptedCluster {
 public:
  static constexpr Duration kLatency = std::chrono::milliseconds(10);

  ScriptedCluster();
  ~ScriptedCluster();

  // --- Nodes.
  void AddNode(const std::string& name);
  void CutAgent(const std::string& name);    // Stream gone; ranks go on.
  void JoinAgent(const std::string& name);   // And back.
  void MuteAgent(const std::string& name);   // Stream open, nothing said.
  void KillNode(const std::string& name);    // Agent and ranks die.
  void Reboot(const std::string& name);      // And come back with a new life.
  void FreezeNode(const std::string& name);  // All stopped, still alive.
  void ThawNode(const std::string& name);
  void KillServer();
  void StartServer();

  // --- People.
  void Launch(const RunSpec& spec, const std::string& request_id);
  void Act(OperatorAction action, const std::string& reason, Step step,
           const std::string& node, const std::string& request_id);

  // --- The trainer.
  struct Trainer {
    double startup_seconds = 2;
    double step_seconds = 0.5;
    std::int64_t save_every = 10;  // 0: only on command.
    double save_seconds = 0;
    // (step -> seconds) one longer phase before that step, declared.
    std::map<std::int64_t, std::pair<Phase, double>> long_phases;
    std::set<std::int64_t> nan_once;                 // Only the first time.
    std::set<std::int64_t> nan_always;               // Whenever it is done.
    std::map<std::int64_t, std::int32_t> raises_at;  // Step -> rank.
    bool ignores_save = false;
    // The report of an exit, with its reason, comes after the heartbeat that
    // shows it: as with an agent that still reads the log of the dead.
    bool says_late = false;
    bool fails_to_start = false;
  };
  Trainer& Settings() { return trainer_; }
  ScriptedLoss& Loss() { return loss_; }
  void KillRank(std::int32_t rank, int signal);
  void FailRank(std::int32_t rank, const std::string& error);
  void StopRank(std::int32_t rank);  // SIGSTOP.
  void CorruptCheckpoint(std::int64_t step, bool is_noticed);
  void RefuseStart(const std::string& node);
  void DropCommands(const std::string& node, int count);
  void RepeatReports(const std::string& node);  // Sends all of them again.

  // --- Time. Both end early only when nothing can happen any more.
  void RunFor(Duration duration);
  // Until the run shows this phase, or all ranks completed this step; false
  // after half an hour.
  bool RunUntilPhase(const std::string& phase);
  bool RunUntilStep(std::int64_t step);

  // What was said since the last call, one line each.
  std::string TakeTranscript();
  // Puts text of a reader's question at its place among what was said.
  void Show(const std::string& text) { transcript_ += text; }
  // Lines for people: the run's view, incidents, time ledger.
  std::string DescribeRun() const;
  std::string DescribeIncidents() const;
  std::string DescribeCheckpoints() const;
  std::string DescribeTime() const;
  std::string DescribeNodes() const;
  std::string DescribeAudit() const;
  const MemoryStore& Store() const { return store_; }

 private:
  struct Node;
  struct Pending {
    MonoTime at;
    std::uint64_t order;
    std::function<void()> deliver;
  };

  Now TimeNow() const;
  void Later(Duration delay, std::function<void()> deliver);
  void Step(Event event);
  void Carry(Outcome outcome);
  void Note(const Change& change);
  void Tell(const std::string& line);
  void Obey(Node& node, const Command& command);
  void ObeyStart(Node& node, NodeRunState& run, const Command& command,
                 const StartCommand& start);
  void ObeyVerify(Node& node, const Command& command,
                  const VerifyCommand& verify);
  void Answer(Node& node, const Command& command, CommandOutcome outcome,
              const std::string& message = "");
  void Heartbeat(Node& node);
  void Report(Node& node, ReportBody body);
  void SendUnacked(Node& node);
  void Train();
  void CompleteStep();
  bool BeginLongPhase(std::int64_t step);
  void ReportStep(std::int64_t step, bool is_nan);
  void FinishRanks(std::int64_t step);
  void SaveStep(bool is_own);
  void ExitRank(Node& node, RankState& rank, ExitStatus exit,
                const std::string& error, bool is_secondary, bool by_agent);
  void KillPeersOf(std::int32_t rank);
  RankState* FindRank(std::int32_t rank, Node** node);
  bool AnyPendingBefore(MonoTime time) const;
  void Advance(MonoTime until);

  MonoTime start_;
  MonoTime now_;
  MonoTime next_tick_;
  MonoTime next_heartbeat_;
  MonoTime next_train_;
  std::uint64_t next_order_ = 0;
  std::uint64_t next_session_ = 0;
  std::uint64_t next_reply_ = 0;
  std::vector<Pending> pending_;
  std::map<std::string, std::unique_ptr<Node>> nodes_;
  MemoryStore store_;
  std::unique_ptr<Engine> engine_;
  std::uint64_t server_life_ = 0;
  std::string transcript_;

  Trainer trainer_;
  ScriptedLoss loss_;
  RunSpec spec_;
  AttemptId training_;      // The attempt that makes steps.
  std::int64_t step_ = -1;  // Of that attempt.
  MonoTime ready_at_;       // When its next step is completed.
  std::set<std::int64_t> nan_done_;
  std::map<std::pair<std::int64_t, std::int64_t>, std::string> bad_files_;
  struct SaveWord {
    std::int64_t step = -1;
    std::uint64_t seq = 0;
    bool then_stop = false;
  };
  std::map<std::string, SaveWord> words_;     // By node.
  std::map<std::string, std::string> shown_;  // Last line of each subject.
};

}  // namespace steadyrun
