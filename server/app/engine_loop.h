#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "base/bounded_queue.h"
#include "base/clock.h"
#include "server/engine/effect.h"
#include "server/engine/event.h"
#include "server/engine/view.h"
#include "server/model/snapshot.h"
#include "server/rpc/backend.h"
#include "server/storage/store.h"

namespace steadyrun {

// What the loop hands on. All calls come from the engine's thread and must not
// block: whatever waits for a peer has a bounded queue of its own.
class EffectSink {
 public:
  virtual ~EffectSink() = default;
  // Changes, effects and log of one transaction, after its commit.
  virtual void Committed(const Outcome& outcome) = 0;
  // Then each of its effects, in order.
  virtual void Execute(Effect effect) = 0;
  // Every kTickInterval, also while commits fail.
  virtual void Tick(Duration lag) = 0;
  // A commit was tried: how long it took, the disk included.
  virtual void CommitTried(Duration took, bool ok) = 0;
};

// How the loop is doing. Counters count from its start.
struct EngineLoopStatus {
  bool storage_ok = true;  // The last commit worked.
  std::string storage_error;
  Duration tick_age{};
  std::uint64_t queue_depth = 0;
  std::uint64_t queue_capacity = 0;
  std::uint64_t queue_refused = 0;
  std::uint64_t events = 0;
  std::uint64_t commits = 0;
};

struct EngineLoopOptions {
  // The pure engine: what the loop drives. Called on its thread only.
  std::function<Outcome(Event, Now)> step;
  std::function<EngineView(Now)> view;
  Store* store = nullptr;  // This and the next two outlive the loop.
  EffectSink* sink = nullptr;
  const Clock* clock = nullptr;
  // A person is told, without the store, when commits fail for so long.
  Duration page_after{std::chrono::seconds(5)};
  // A sync failed: nothing the process believes about the disk is certain.
  // Must not return to serving; by default the process ends.
  std::function<void(const absl::Status&)> on_data_loss;
};

// The one thread that owns the engine: takes events from a bounded queue, asks
// the engine, commits what it changed, and only then carries out its effects.
//
// Many events share a transaction: what is in the queue is taken together, and
// while nothing but telemetry waits for its commit, that waits for company, for
// kTelemetryLinger at most. A change of a run's phase is committed at once.
//
// When a commit fails, effects and acknowledgements are held, no event is
// consumed, and the same transaction is tried again every kCommitRetry: agents
// spool, training goes on.
class EngineLoop final : public EventSink {
 public:
  explicit EngineLoop(EngineLoopOptions options);
  ~EngineLoop() override;  // Stop().

  // Before Start: the phases that runs are in already, so that only changes
  // of them count as such.
  void Seed(const Snapshot& snapshot);
  void Start();
  // Refuses new events, finishes the one in work, waits for the thread. What
  // was not committed was not acknowledged either.
  void Stop();

  // Thread-safe.
  [[nodiscard]] bool TryPush(Event event) override;
  // The newest picture, at most a tick old when somebody looks all the time,
  // and never older than the last change of a run's phase. Never null.
  std::shared_ptr<const EngineView> View() const;
  EngineLoopStatus Status() const;

  // One message of each of 12,500 agents, and room for the people.
  static constexpr std::size_t kQueueCapacity = 16'384;
  // Reports in the queue: 1,000 agents may come back at once with 256 KiB of
  // backlog each.
  static constexpr std::int64_t kQueueBytes = 256 << 20;
  // How long an acknowledgement of telemetry may wait for its commit: 50 syncs
  // a second at most for any number of runs.
  static constexpr Duration kTelemetryLinger = std::chrono::milliseconds(20);
  static constexpr std::size_t kMaxBatchChanges = 4096;
  static constexpr Duration kCommitRetry = std::chrono::milliseconds(200);

 private:
  // How long what is pending may wait for company.
  enum class Urgency { kNone, kTelemetry, kPrompt, kCritical };

  void Run();
  void TakeEvents();
  void Feed(Event event);
  void TickIfDue();
  void CommitIfDue();
  bool IsCommitDue() const;
  void CommitAndExecute();
  bool TryCommit();
  void FailpointAtEntry(std::string_view moment) const;
  void WaitForRetry();
  void ExecuteEffects();
  void PublishViewIfWanted();
  void PublishView();
  bool IsStopping() const ABSL_LOCKS_EXCLUDED(mutex_);
  Urgency UrgencyOf(const Outcome& outcome);
  void NoteStorage(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void PageIfFailingForLong();

  const EngineLoopOptions options_;
  BoundedQueue<Event> queue_;
  std::atomic<std::int64_t> queued_bytes_{0};
  std::atomic<std::uint64_t> refused_bytes_{0};

  // The engine's thread only.
  std::deque<Event> taken_;
  Outcome pending_;
  Outcome executing_;  // Emptied after use; keeps its memory.
  Urgency urgency_ = Urgency::kNone;
  std::vector<std::string_view> entered_;  // Phases that pending_ enters.
  Now pending_at_;                         // Of the newest event behind it.
  MonoTime pending_since_;                 // Of the oldest.
  MonoTime next_tick_;
  std::optional<MonoTime> failing_since_;
  bool has_paged_ = false;  // Of the failure that is on.
  MonoTime view_made_;
  Duration view_cost_{};
  std::map<RunId, std::pair<RunPhase, AttemptId>> phases_;

  std::atomic<std::int64_t> last_tick_ns_{0};
  std::atomic<std::uint64_t> events_{0};
  std::atomic<std::uint64_t> commits_{0};
  mutable std::atomic<bool> view_wanted_{false};
  mutable absl::Mutex mutex_;
  std::shared_ptr<const EngineView> view_ ABSL_GUARDED_BY(mutex_);
  absl::Status storage_ ABSL_GUARDED_BY(mutex_);
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace steadyrun
