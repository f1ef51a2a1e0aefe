#include "server/app/engine_loop.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "base/check.h"
#include "base/failpoint.h"
#include "base/logging.h"
#include "server/app/event_size.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

// Events taken from the queue at a time: few enough that a tick is not late.
constexpr std::size_t kMaxTaken = 512;
// A thousand agents that speak in turn wake the thread 200 times a second and
// not 1,000: waking it costs more than what an event asks for.
constexpr Duration kEventLinger = std::chrono::milliseconds(5);
// A picture is made at most this often, and at most for 1/50 of the time.
constexpr Duration kViewInterval = std::chrono::milliseconds(100);
constexpr Duration kIdleViewInterval = std::chrono::seconds(1);
constexpr int kViewCostShare = 50;
// For people and scripts: the process ended because of its disk.
constexpr int kExitDataLoss = 74;  // EX_IOERR of sysexits.h.

[[noreturn]] void EndProcess(const absl::Status& status) {
  spdlog::critical(
      "ending: the disk has lost or damaged what was written {}. Training goes "
      "on; start the server again when the disk is healthy",
      Kv("error", std::string(status.message())));
  spdlog::shutdown();
  std::_Exit(kExitDataLoss);
}

bool IsAck(const Effect& effect) {
  return std::holds_alternative<AckReports>(effect);
}

bool IsTelemetryChange(const Change& change) {
  return std::holds_alternative<StepRow>(change) ||
         std::holds_alternative<NodeCursor>(change) ||
         std::holds_alternative<RunState>(change);
}

template <typename T>
void Append(std::vector<T>* to, std::vector<T> from) {
  to->insert(to->end(), std::make_move_iterator(from.begin()),
             std::make_move_iterator(from.end()));
}

}  // namespace

EngineLoop::EngineLoop(EngineLoopOptions options)
    : options_(std::move(options)), queue_(kQueueCapacity) {
  SR_CHECK(options_.store != nullptr && options_.sink != nullptr &&
           options_.clock != nullptr);
  next_tick_ = options_.clock->MonoNow();
  last_tick_ns_ = next_tick_.time_since_epoch().count();
  PublishView();
}

EngineLoop::~EngineLoop() { Stop(); }

void EngineLoop::Seed(const Snapshot& snapshot) {
  for (const RunState& state : snapshot.runs) {
    phases_[state.spec.run] = {state.phase, state.attempt};
  }
}

void EngineLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EngineLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
  }
  queue_.Close();
  if (thread_.joinable()) thread_.join();
}

bool EngineLoop::TryPush(Event event) {
  const std::int64_t bytes = QueuedBytes(event);
  if (queued_bytes_.fetch_add(bytes) > kQueueBytes) {
    queued_bytes_ -= bytes;
    ++refused_bytes_;
    return false;
  }
  if (queue_.TryPush(std::move(event))) return true;
  queued_bytes_ -= bytes;
  return false;
}

std::shared_ptr<const EngineView> EngineLoop::View() const {
  view_wanted_ = true;
  absl::MutexLock lock(&mutex_);
  return view_;
}

EngineLoopStatus EngineLoop::Status() const {
  EngineLoopStatus status;
  const MonoTime last_tick{Duration(last_tick_ns_.load())};
  status.tick_age = options_.clock->MonoNow() - last_tick;
  status.queue_depth = queue_.Size();
  status.queue_capacity = queue_.Capacity();
  status.queue_refused = queue_.Refused() + refused_bytes_;
  status.events = events_;
  status.commits = commits_;
  absl::MutexLock lock(&mutex_);
  status.storage_ok = storage_.ok();
  status.storage_error = std::string(storage_.message());
  return status;
}

bool EngineLoop::IsStopping() const {
  absl::MutexLock lock(&mutex_);
  return is_stopping_;
}

void EngineLoop::Run() {
  while (!IsStopping()) {
    TakeEvents();
    while (!taken_.empty() && !IsStopping()) {
      Event event = std::move(taken_.front());
      taken_.pop_front();
      queued_bytes_ -= QueuedBytes(event);
      Feed(std::move(event));
      if (urgency_ == Urgency::kCritical ||
          pending_.changes.size() >= kMaxBatchChanges) {
        CommitAndExecute();
      }
      TickIfDue();
    }
    if (IsStopping()) return;
    TickIfDue();
    CommitIfDue();
    PublishViewIfWanted();
  }
}

void EngineLoop::TakeEvents() {
  const MonoTime now = options_.clock->MonoNow();
  Duration timeout = next_tick_ - now;
  if (urgency_ != Urgency::kNone) {
    timeout = std::min(timeout, pending_since_ + kTelemetryLinger - now);
  }
  std::vector<Event> events = queue_.PopBatch(
      kMaxTaken, std::max(timeout, Duration::zero()), kEventLinger);
  for (Event& event : events) taken_.push_back(std::move(event));
}

void EngineLoop::Feed(Event event) {
  const Now now = options_.clock->Both();
  Outcome outcome = options_.step(std::move(event), now);
  ++events_;
  const Urgency urgency = UrgencyOf(outcome);
  if (urgency == Urgency::kNone) return;
  if (urgency_ == Urgency::kNone) pending_since_ = now.mono;
  pending_at_ = now;
  urgency_ = std::max(urgency_, urgency);
  for (const Effect& effect : outcome.effects) {
    // Beside its effect: notifications outlive the process.
    if (const auto* page = std::get_if<Page>(&effect)) {
      outcome.changes.push_back(*page);
    }
  }
  Append(&pending_.changes, std::move(outcome.changes));
  Append(&pending_.effects, std::move(outcome.effects));
  Append(&pending_.log, std::move(outcome.log));
}

EngineLoop::Urgency EngineLoop::UrgencyOf(const Outcome& outcome) {
  if (outcome.changes.empty() && outcome.effects.empty() &&
      outcome.log.empty()) {
    return Urgency::kNone;
  }
  Urgency urgency = Urgency::kTelemetry;
  for (const Change& change : outcome.changes) {
    if (!IsTelemetryChange(change))
      urgency = std::max(urgency, Urgency::kPrompt);
    const auto* state = std::get_if<RunState>(&change);
    if (state == nullptr) continue;
    const auto phase = std::make_pair(state->phase, state->attempt);
    const auto [known, is_new] = phases_.try_emplace(state->spec.run, phase);
    if (!is_new && known->second == phase) continue;
    known->second = phase;
    urgency = Urgency::kCritical;
    entered_.push_back(RunPhaseName(state->phase));
  }
  if (!std::all_of(outcome.effects.begin(), outcome.effects.end(), IsAck)) {
    urgency = std::max(urgency, Urgency::kPrompt);
  }
  return urgency;
}

void EngineLoop::TickIfDue() {
  const MonoTime now = options_.clock->MonoNow();
  if (now < next_tick_) return;
  const Duration lag = now - next_tick_;
  // One tick for however many were missed; the engine sees the gap in `now`.
  next_tick_ = std::max(next_tick_ + kTickInterval, now);
  last_tick_ns_ = now.time_since_epoch().count();
  Feed(Ticked{});
  options_.sink->Tick(lag);
}

bool EngineLoop::IsCommitDue() const {
  if (urgency_ == Urgency::kNone) return false;
  if (urgency_ > Urgency::kTelemetry) return true;
  return options_.clock->MonoNow() - pending_since_ >= kTelemetryLinger;
}

void EngineLoop::CommitIfDue() {
  if (IsCommitDue()) CommitAndExecute();
}

void EngineLoop::CommitAndExecute() {
  FailpointAtEntry("before_commit");
  while (!TryCommit()) {
    if (IsStopping()) return;
    WaitForRetry();
  }
  FailpointAtEntry("after_commit");
  const bool was_critical = urgency_ == Urgency::kCritical;
  // Whoever gets a reply sees what it says in the next picture.
  if (was_critical) PublishView();
  ExecuteEffects();
  FailpointAtEntry("after_effects");
  entered_.clear();
}

void EngineLoop::FailpointAtEntry(std::string_view moment) const {
  for (const std::string_view phase : entered_) {
    Failpoint(fmt::format("engine.{}.{}", phase, moment));
  }
}

bool EngineLoop::TryCommit() {
  if (pending_.changes.empty()) return true;
  const MonoTime begin = options_.clock->MonoNow();
  const absl::Status status =
      options_.store->Apply(pending_.changes, pending_at_);
  options_.sink->CommitTried(options_.clock->MonoNow() - begin, status.ok());
  NoteStorage(status);
  if (status.ok()) {
    ++commits_;
    failing_since_.reset();
    has_paged_ = false;
    return true;
  }
  if (absl::IsDataLoss(status)) {
    if (!options_.on_data_loss) EndProcess(status);
    options_.on_data_loss(status);
    absl::MutexLock lock(&mutex_);
    is_stopping_ = true;
  }
  return false;
}

void EngineLoop::NoteStorage(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (status.ok() != storage_.ok()) {
    if (status.ok()) {
      spdlog::info("commits work again");
    } else {
      spdlog::error(
          "cannot commit: nothing is acknowledged or ordered until it works "
          "again; training goes on {}",
          Kv("error", std::string(status.message())));
    }
  }
  storage_ = status;
}

// The engine's own pages are effects, which are held until a commit works.
void EngineLoop::PageIfFailingForLong() {
  const MonoTime now = options_.clock->MonoNow();
  if (!failing_since_) failing_since_ = now;
  if (has_paged_ || now - *failing_since_ < options_.page_after) return;
  has_paged_ = true;
  std::string error;
  {
    absl::MutexLock lock(&mutex_);
    error = std::string(storage_.message());
  }
  options_.sink->Execute(Page{
      {},
      0,
      fmt::format("The server cannot write its database: {}. Training goes on, "
                  "unsupervised: no fault is acted on until this is mended.",
                  error)});
}

void EngineLoop::WaitForRetry() {
  PageIfFailingForLong();
  const MonoTime now = options_.clock->MonoNow();
  // The thread lives and its peers are looked after; the engine gets no tick.
  last_tick_ns_ = now.time_since_epoch().count();
  options_.sink->Tick(std::max(Duration::zero(), Duration(now - next_tick_)));
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&is_stopping_),
                          absl::FromChrono(kCommitRetry));
}

void EngineLoop::ExecuteEffects() {
  std::swap(pending_, executing_);
  urgency_ = Urgency::kNone;
  for (const std::string& line : executing_.log) spdlog::info("{}", line);
  options_.sink->Committed(executing_);
  for (Effect& effect : executing_.effects) {
    options_.sink->Execute(std::move(effect));
  }
  executing_.changes.clear();
  executing_.effects.clear();
  executing_.log.clear();
}

void EngineLoop::PublishViewIfWanted() {
  const Duration age = options_.clock->MonoNow() - view_made_;
  if (age < std::max(kViewInterval, view_cost_ * kViewCostShare)) return;
  if (age < kIdleViewInterval && !view_wanted_) return;
  PublishView();
}

void EngineLoop::PublishView() {
  const Now now = options_.clock->Both();
  view_wanted_ = false;
  auto view = std::make_shared<const EngineView>(options_.view(now));
  view_made_ = options_.clock->MonoNow();
  view_cost_ = view_made_ - now.mono;
  absl::MutexLock lock(&mutex_);
  view_.swap(view);
}

}  // namespace steadyrun
