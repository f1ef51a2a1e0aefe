#pragma once

// A store in a directory of its own, with a clock the test moves.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "server/storage/sqlite_store.h"

namespace steadyrun {

class TestClock final : public Clock {
 public:
  MonoTime MonoNow() const override {
    absl::MutexLock lock(&mutex_);
    return now_.mono;
  }
  WallTime WallNow() const override {
    absl::MutexLock lock(&mutex_);
    return now_.wall;
  }
  void Advance(Duration by) {
    absl::MutexLock lock(&mutex_);
    now_.mono += by;
    now_.wall += std::chrono::duration_cast<std::chrono::milliseconds>(by);
  }
  void Set(Now now) {
    absl::MutexLock lock(&mutex_);
    now_ = now;
  }

 private:
  mutable absl::Mutex mutex_;
  Now now_{MonoTime(std::chrono::hours(10)), FromUnixMillis(1'700'000'000'000)};
};

// Removed with its content.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();
  const std::string& path() const { return path_; }
  std::string Database() const { return path_ + "/steadyrun.db"; }

 private:
  std::string path_;
};

class StoreTest : public testing::Test {
 protected:
  StoreTest();
  // Opens the store; a second call closes the first one before.
  void Open();
  absl::Status TryOpen();
  void Close() { store_.reset(); }
  void Apply(std::vector<Change> changes);
  Snapshot LoadAll();
  // Until nothing is left to do.
  void RunMaintenance();

  ScratchDirectory directory_;
  TestClock clock_;
  StoreOptions options_;
  std::unique_ptr<SqliteStore> store_;
};

RunState MakeRun(const RunId& run);
// A step of `ranks` ranks: step seconds, loss, gradient norm and tokens.
StepRow MakeStep(const RunId& run, std::int64_t attempt, std::int64_t step,
                 std::int32_t ranks);

}  // namespace steadyrun
