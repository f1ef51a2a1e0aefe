// The loop: what is committed before what is done, and what happens when it
// cannot be. The engine is a script, the store a real one.

#include "server/app/engine_loop.h"

#include <gmock/gmock.h>

#include <set>

#include "absl/synchronization/notification.h"
#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

using testing::ElementsAre;

constexpr absl::Duration kPatience = absl::Seconds(20);

// Passes on to a real store, unless told to fail.
class GatedStore final : public Store {
 public:
  explicit GatedStore(Store* store) : store_(store) {}
  absl::StatusOr<Snapshot> Load(Now now) override { return store_->Load(now); }
  absl::Status Apply(std::span<const Change> changes, Now now) override {
    absl::MutexLock lock(&mutex_);
    ++tries_;
    if (!error_.ok()) return error_;
    ++commits_;
    return store_->Apply(changes, now);
  }
  void FailWith(absl::Status error) {
    absl::MutexLock lock(&mutex_);
    error_ = std::move(error);
  }
  int Commits() const {
    absl::MutexLock lock(&mutex_);
    return commits_;
  }
  // False if that takes unreasonably long.
  bool WaitForTries(int tries) {
    absl::MutexLock lock(&mutex_);
    const int goal = tries_ + tries;
    const auto reached = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return tries_ >= goal;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), kPatience);
  }

 private:
  Store* const store_;
  mutable absl::Mutex mutex_;
  absl::Status error_;
  int tries_ = 0;
  int commits_ = 0;
};

// Keeps what was executed.
class RecordingEffects final : public EffectSink {
 public:
  void Committed(const Outcome& outcome) override {
    absl::MutexLock lock(&mutex_);
    committed_changes_ += outcome.changes.size();
  }
  void Execute(Effect effect) override {
    absl::MutexLock lock(&mutex_);
    if (const auto* page = std::get_if<Page>(&effect)) {
      pages_.push_back(page->text);
    }
  }
  void Tick(Duration) override {
    absl::MutexLock lock(&mutex_);
    ++ticks_;
  }
  void CommitTried(Duration, bool) override {}

  std::vector<std::string> WaitForPages(std::size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto reached = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return pages_.size() >= count;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&reached), kPatience);
    return pages_;
  }
  std::vector<std::string> Pages() {
    absl::MutexLock lock(&mutex_);
    return pages_;
  }
  bool WaitForTicks(int count) {
    absl::MutexLock lock(&mutex_);
    const int goal = ticks_ + count;
    const auto reached = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return ticks_ >= goal;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), kPatience);
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> pages_;
  std::size_t committed_changes_ = 0;
  int ticks_ = 0;
};

class EngineLoopTest : public StoreTest {
 protected:
  void SetUp() override {
    Open();
    gate_ = std::make_unique<GatedStore>(store_.get());
  }
  void TearDown() override { loop_.reset(); }

  // Each operator's action becomes a change of the run of that name and a page
  // with the reason; heartbeats become nothing.
  void StartLoop() {
    EngineLoopOptions options;
    options.step = [this](Event event, Now) { return Step(std::move(event)); };
    options.view = [this](Now) {
      EngineView view;
      view.sessions = fed_;
      return view;
    };
    options.store = gate_.get();
    options.sink = &effects_;
    options.page_after = page_after_;
    options.clock = &clock_of_loop_;
    options.on_data_loss = [this](const absl::Status&) { data_loss_.Notify(); };
    loop_ = std::make_unique<EngineLoop>(std::move(options));
    loop_->Start();
  }

  Outcome Step(Event event) {
    Outcome outcome;
    const auto* action = std::get_if<ActionRequested>(&event);
    if (action == nullptr) return outcome;
    ++fed_;
    RunState run = MakeRun(action->run);
    run.attempt = AttemptId{static_cast<std::int64_t>(fed_)};
    outcome.changes.push_back(run);
    outcome.effects.push_back(Page{action->run, 0, action->reason});
    return outcome;
  }

  bool Push(const RunId& run, const std::string& text) {
    ActionRequested action;
    action.run = run;
    action.reason = text;
    return loop_->TryPush(action);
  }

  Duration page_after_ = std::chrono::hours(1);
  SystemClock clock_of_loop_;
  std::unique_ptr<GatedStore> gate_;
  RecordingEffects effects_;
  absl::Notification data_loss_;
  std::size_t fed_ = 0;  // The loop's thread.
  std::unique_ptr<EngineLoop> loop_;
};

TEST_F(EngineLoopTest, CommitsAndThenCarriesOut) {
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  ASSERT_TRUE(Push("b", "two"));
  EXPECT_THAT(effects_.WaitForPages(2), ElementsAre("one", "two"));
  EXPECT_TRUE(store_->history().Run("a").ok());
  EXPECT_TRUE(store_->history().Run("b").ok());
  EXPECT_TRUE(loop_->Status().storage_ok);
}

TEST_F(EngineLoopTest, HoldsEverythingWhileCommitsFail) {
  gate_->FailWith(absl::ResourceExhaustedError("disk full"));
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  ASSERT_TRUE(gate_->WaitForTries(3));
  ASSERT_TRUE(Push("b", "two"));
  EXPECT_TRUE(effects_.Pages().empty());
  const EngineLoopStatus status = loop_->Status();
  EXPECT_FALSE(status.storage_ok);
  EXPECT_EQ(status.storage_error, "disk full");
  EXPECT_EQ(status.queue_depth, 1u);  // "two" is not consumed.
  // Those who look after peers are still called.
  EXPECT_TRUE(effects_.WaitForTicks(2));

  gate_->FailWith(absl::OkStatus());
  EXPECT_THAT(effects_.WaitForPages(2), ElementsAre("one", "two"));
  EXPECT_TRUE(loop_->Status().storage_ok);
  EXPECT_EQ(store_->history().Runs()->size(), 2u);
}

// The path to people must not lead through the disk that is full.
TEST_F(EngineLoopTest, TellsAPersonOnceWithoutACommit) {
  page_after_ = std::chrono::milliseconds(1);
  gate_->FailWith(absl::ResourceExhaustedError("disk full"));
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  EXPECT_THAT(effects_.WaitForPages(1),
              ElementsAre(testing::AllOf(testing::HasSubstr("disk full"),
                                         testing::HasSubstr("goes on"))));
  ASSERT_TRUE(gate_->WaitForTries(3));
  EXPECT_EQ(effects_.Pages().size(), 1u);
  gate_->FailWith(absl::OkStatus());
  EXPECT_EQ(effects_.WaitForPages(2).back(), "one");
}

TEST_F(EngineLoopTest, EndsWhenASyncHasFailed) {
  gate_->FailWith(absl::DataLossError("sync failed"));
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  EXPECT_TRUE(data_loss_.WaitForNotificationWithTimeout(kPatience));
  loop_->Stop();
  EXPECT_TRUE(effects_.Pages().empty());
  EXPECT_FALSE(Push("a", "two"));
}

TEST_F(EngineLoopTest, StopsWhileCommitsFailAndLeavesThemUndone) {
  gate_->FailWith(absl::ResourceExhaustedError("disk full"));
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  ASSERT_TRUE(gate_->WaitForTries(2));
  loop_->Stop();
  EXPECT_TRUE(effects_.Pages().empty());
  EXPECT_TRUE(absl::IsNotFound(store_->history().Run("a").status()));
}

TEST_F(EngineLoopTest, AChangeOfPhaseIsInThePictureBeforeItsReply) {
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  effects_.WaitForPages(1);
  EXPECT_EQ(loop_->View()->sessions, 1u);
}

TEST_F(EngineLoopTest, AFullQueueRefusesAndCounts) {
  gate_->FailWith(absl::ResourceExhaustedError("disk full"));
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  ASSERT_TRUE(gate_->WaitForTries(2));
  for (std::size_t i = 0; i < EngineLoop::kQueueCapacity; ++i) {
    ASSERT_TRUE(loop_->TryPush(AgentHeartbeat{}));
  }
  EXPECT_FALSE(loop_->TryPush(AgentHeartbeat{}));
  EXPECT_EQ(loop_->Status().queue_refused, 1u);
  gate_->FailWith(absl::OkStatus());
  effects_.WaitForPages(1);
}

TEST_F(EngineLoopTest, TheQueueIsBoundedInBytesToo) {
  gate_->FailWith(absl::ResourceExhaustedError("disk full"));
  StartLoop();
  ASSERT_TRUE(Push("a", "one"));
  ASSERT_TRUE(gate_->WaitForTries(2));
  AgentReports big;
  StepBlock block;
  block.values.resize(1 << 20);
  big.reports.assign(8, Report{{}, block});
  std::int64_t taken = 0;
  while (taken < 64 && loop_->TryPush(big)) ++taken;
  EXPECT_GE(taken, 7);
  EXPECT_LE(taken, 9);
  gate_->FailWith(absl::OkStatus());
  effects_.WaitForPages(1);
}

}  // namespace
}  // namespace steadyrun
