#pragma once

// The other side of the rpc and web adapters, for their tests: what an engine
// loop and a store would give, without a thread or a file.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/backend.h"
#include "server/storage/history.h"

namespace steadyrun {

// Advances only when told.
class ManualClock final : public Clock {
 public:
  MonoTime MonoNow() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  WallTime WallNow() const override {
    return FromUnixMillis(1'700'000'000'000);
  }
  void Advance(Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  MonoTime now_ ABSL_GUARDED_BY(mutex_){std::chrono::hours(1)};
};

// Keeps events in order; refuses once `capacity` are in it.
class RecordingSink final : public EventSink {
 public:
  bool TryPush(Event event) override {
    std::function<void(const Event&)> hook;
    {
      absl::MutexLock lock(&mutex_);
      if (events_.size() >= capacity_) {
        ++refused_;
        return false;
      }
      events_.push_back(event);
      hook = hook_;
    }
    if (hook) hook(event);
    return true;
  }

  // Called for every taken event, on the pusher's thread.
  void SetHook(std::function<void(const Event&)> hook) {
    absl::MutexLock lock(&mutex_);
    hook_ = std::move(hook);
  }
  void SetCapacity(std::size_t capacity) {
    absl::MutexLock lock(&mutex_);
    capacity_ = capacity;
  }
  bool WaitForRefusals(std::size_t count) const {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return refused_ >= count;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
  }
  std::vector<Event> Events() const {
    absl::MutexLock lock(&mutex_);
    return events_;
  }

  template <typename T>
  std::vector<T> All() const {
    std::vector<T> found;
    for (const Event& event : Events()) {
      if (const T* one = std::get_if<T>(&event)) found.push_back(*one);
    }
    return found;
  }

  // Waits until `count` events of type T are in; false after 20 s.
  template <typename T>
  bool WaitFor(std::size_t count) const {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      std::size_t found = 0;
      for (const Event& event : events_) {
        found += std::holds_alternative<T>(event) ? 1 : 0;
      }
      return found >= count;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
  }

 private:
  mutable absl::Mutex mutex_;
  std::size_t capacity_ ABSL_GUARDED_BY(mutex_) = 1'000'000;
  std::size_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Event> events_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const Event&)> hook_ ABSL_GUARDED_BY(mutex_);
};

class SettableLive final : public LiveState {
 public:
  std::shared_ptr<const EngineView> View() const override {
    absl::MutexLock lock(&mutex_);
    return view_;
  }
  ServiceStatus Status() const override {
    absl::MutexLock lock(&mutex_);
    return status_;
  }
  void Set(EngineView view) {
    absl::MutexLock lock(&mutex_);
    view_ = std::make_shared<const EngineView>(std::move(view));
  }
  void Set(ServiceStatus status) {
    absl::MutexLock lock(&mutex_);
    status_ = std::move(status);
  }

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const EngineView> view_ ABSL_GUARDED_BY(mutex_) =
      std::make_shared<const EngineView>();
  ServiceStatus status_ ABSL_GUARDED_BY(mutex_);
};

// Answers from plain vectors, set before use.
class MemoryHistory final : public History {
 public:
  std::vector<RunState> runs;
  std::vector<Incident> incidents;
  std::vector<Checkpoint> checkpoints;
  std::vector<StepBucket> buckets;
  std::vector<StoredAudit> audit;
  std::vector<StepRow> rows;  // In order of attempt and step.
  RankMatrix matrix;
  absl::Status failure;               // Of every query, if not OK.
  std::function<void()> before_runs;  // Called by Runs(), if set.

  absl::StatusOr<std::vector<RunState>> Runs() override {
    if (before_runs) before_runs();
    if (!failure.ok()) return failure;
    return runs;
  }
  absl::StatusOr<RunState> Run(const RunId& run) override {
    if (!failure.ok()) return failure;
    for (const RunState& state : runs) {
      if (state.spec.run == run) return state;
    }
    return absl::NotFoundError("no run '" + run + "'");
  }
  absl::StatusOr<std::vector<Incident>> Incidents(
      const IncidentFilter& filter) override {
    if (!failure.ok()) return failure;
    std::vector<Incident> found;
    for (const Incident& incident : incidents) {
      if (!filter.run.empty() && incident.run != filter.run) continue;
      if (filter.only_open && incident.state != IncidentState::kOpen) continue;
      if (static_cast<std::int32_t>(found.size()) < filter.limit) {
        found.push_back(incident);
      }
    }
    return found;
  }
  absl::StatusOr<Incident> FindIncident(const RunId& run,
                                        std::int64_t number) override {
    if (!failure.ok()) return failure;
    for (const Incident& incident : incidents) {
      if (incident.run == run && incident.number == number) return incident;
    }
    return absl::NotFoundError("no incident '" + run + ":" +
                               std::to_string(number) + "'");
  }
  absl::StatusOr<std::vector<Checkpoint>> Checkpoints(const RunId&) override {
    if (!failure.ok()) return failure;
    return checkpoints;
  }
  absl::StatusOr<std::vector<Decision>> Decisions(const RunId&,
                                                  std::int32_t) override {
    return std::vector<Decision>{};
  }
  absl::StatusOr<std::vector<StoredRankFailure>> RankFailures(
      const RunId&, std::int32_t) override {
    return std::vector<StoredRankFailure>{};
  }
  absl::StatusOr<std::vector<StepBucket>> Steps(const StepQuery&) override {
    if (!failure.ok()) return failure;
    return buckets;
  }
  absl::StatusOr<StepRow> FindStep(const RunId&, Step) override {
    return absl::NotFoundError("rolled up");
  }
  absl::StatusOr<std::vector<RankPoint>> RankSeries(const RankQuery&) override {
    return std::vector<RankPoint>{};
  }
  absl::StatusOr<std::vector<StepRow>> Rows(const RowQuery& query) override {
    if (!failure.ok()) return failure;
    std::vector<StepRow> page;
    for (const StepRow& row : rows) {
      const bool is_later =
          row.attempt > query.attempt ||
          (row.attempt == query.attempt && row.step > query.step);
      if (row.run == query.run && is_later &&
          static_cast<std::int32_t>(page.size()) < query.limit) {
        page.push_back(row);
      }
    }
    return page;
  }
  absl::StatusOr<RankMatrix> Matrix(const RankMatrixQuery&) override {
    if (!failure.ok()) return failure;
    return matrix;
  }
  absl::StatusOr<std::vector<std::string>> Metrics(const RunId&) override {
    return std::vector<std::string>{"loss"};
  }
  absl::StatusOr<MetricCurve> MetricSeries(const MetricQuery&) override {
    if (!failure.ok()) return failure;
    return MetricCurve{};
  }
  absl::StatusOr<std::vector<StoredAudit>> Audit(const RunId&,
                                                 std::int32_t) override {
    if (!failure.ok()) return failure;
    return audit;
  }
  absl::StatusOr<AuditHead> VerifyAudit() override { return AuditHead{}; }
  int SchemaVersion() const override { return 1; }
  std::string Path() const override { return ":memory:"; }
  std::int64_t DiskBytes() const override { return 0; }
};

}  // namespace steadyrun
