#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "server/engine/engine.h"
#include "tests/simulation/context.h"
#include "tests/simulation/sim_disk.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/watcher.h"

namespace steadyrun::sim {

// The service's process around the product's Engine: what server/app does for
// it. One event after the other; changes are committed before effects leave;
// while a commit fails, effects are held and no event is consumed.
class SimServer final : public ServerEnd {
 public:
  using OnReply = std::function<void(const ReplyToOperator&)>;

  SimServer(SimContext& context, SimNetwork& network, Watcher& watcher,
            EngineMutation mutation);

  void Start();
  void Crash();  // SIGKILL; what is not committed is lost.
  void Pause();
  void Resume();
  bool IsRunning() const { return engine_ != nullptr; }
  bool IsPaused() const { return is_paused_; }
  void FailCommitsUntil(Duration time) { commits_fail_until_ = time; }
  bool IsStorageFailing() const { return commits_fail_until_ > context_.now(); }
  HostClock& clock() { return clock_; }

  // An operator's call; false if nobody answers the port.
  bool Submit(Event event);
  void SetOnReply(OnReply on_reply) { on_reply_ = std::move(on_reply); }

  const ServerStore& store() const { return store_; }
  EngineView View() const { return engine_->View(LocalNow()); }
  std::size_t LargestQueue() const { return largest_queue_; }
  std::uint64_t steps() const { return steps_; }

  // --- ServerEnd
  bool IsListening() const override { return IsRunning(); }
  bool IsReading() const override { return IsRunning() && !is_paused_; }
  void OnStreamToServer(StreamId stream, int node) override;
  void OnMessage(StreamId stream, ToServer message) override;
  void OnServerStreamClosed(StreamId stream) override;

 private:
  struct Session {
    StreamId stream = 0;
    int node = -1;
  };

  Now LocalNow() const { return clock_.At(context_.now()); }
  void Tick();
  void Enqueue(Event event);
  void Run();
  void Commit();
  void CommitDue();
  void PerformAll();
  void Perform(const Effect& effect);

  SimContext& context_;
  SimNetwork& network_;
  Watcher& watcher_;
  const EngineMutation mutation_;
  HostClock clock_;
  ServerStore store_;
  OnReply on_reply_;

  std::unique_ptr<Engine> engine_;
  std::uint64_t life_ = 0;
  bool is_paused_ = false;
  bool is_tick_due_ = false;
  bool is_committing_ = false;
  Duration commits_fail_until_{};
  std::deque<Event> queue_;
  std::size_t largest_queue_ = 0;
  std::vector<Change> changes_;  // Of the transaction being gathered.
  std::vector<Effect> effects_;  // Held until it is committed.
  std::map<StreamId, std::pair<int, SessionId>> sessions_;
  std::map<SessionId, Session> by_session_;
  std::uint64_t next_session_ = 1;
  std::uint64_t steps_ = 0;
};

}  // namespace steadyrun::sim
