#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "agent/core/effect.h"
#include "agent/core/event.h"

namespace steadyrun::agent {

// An agent's core with a disk that answers when told to, and a clock that
// stands still until it is moved.
class CoreRig {
 public:
  explicit CoreRig(CoreOptions options = DefaultOptions(),
                   DurableState durable = FreshState(),
                   std::vector<NodeRunState> survivors = {},
                   ReportSeq last_spooled = {}, ReportSeq oldest_spooled = {});

  static CoreOptions DefaultOptions();
  static DurableState FreshState();

  // One step; its effects are appended to `effects`, and the state asked to be
  // persisted is put into `writes`.
  void Step(Event event);
  void Advance(Duration by) { now_.mono += by; }
  void Tick(Duration by = std::chrono::milliseconds(100)) {
    Advance(by);
    Step(Ticked{});
  }

  // Answers the oldest write.
  void Persist();
  void FailPersist();
  // Answers every write until none is left.
  void PersistAll();

  // Opens a stream to a server of `epoch`, welcomed and with the epoch on
  // disk.
  void Connect(std::uint64_t epoch = 1, const std::string& server = "server-a",
               ReportSeq resume_after = {});
  void Send(Command command) { Step(CommandReceived{std::move(command)}); }
  // Connected, attempt 1 of "run" fenced in, `ranks` spawned with pids
  // 100, 101, ...
  void StartRun(int ranks = 2, AttemptId attempt = AttemptId{1});
  void Spawned(AttemptId attempt, int rank);
  void Gone(AttemptId attempt, int rank, ExitStatus exit);
  void Observe(AttemptId attempt, int rank, std::int64_t step);

  Command Stop(AttemptId attempt, Duration grace = {}) const;
  Command Start(AttemptId attempt, int ranks = 2) const;
  Command Save(std::int64_t step, std::uint64_t save_seq,
               AttemptId attempt = AttemptId{1}) const;
  Command Verify(AttemptId attempt = AttemptId{1}) const;
  Command Forget(AttemptId attempt = AttemptId{1}) const;

  // Effects of one type, since the last Clear.
  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const Effect& effect : effects) {
      if (const T* one = std::get_if<T>(&effect)) found.push_back(*one);
    }
    return found;
  }
  template <typename T>
  std::vector<T> Reports() const {
    std::vector<T> found;
    for (const AppendReport& append : All<AppendReport>()) {
      if (const T* one = std::get_if<T>(&append.report.body)) {
        found.push_back(*one);
      }
    }
    return found;
  }
  std::vector<CommandOutcome> Outcomes() const;
  void Clear() { effects.clear(); }

  AgentCore& core() { return *core_; }
  Now now() const { return now_; }
  NodeState State() const { return core_->State(now_); }
  std::string boot_id() const { return State().boot_id; }

  std::vector<Effect> effects;
  std::vector<std::string> log;
  std::deque<PersistState> writes;  // Not answered yet.
  DurableState disk;                // Of the last answered write.

 private:
  Now now_{.mono = MonoTime{std::chrono::hours(1)},
           .wall = FromUnixMillis(1'800'000'000'000)};
  std::uint64_t epoch_ = 1;
  std::unique_ptr<AgentCore> core_;
};

}  // namespace steadyrun::agent
