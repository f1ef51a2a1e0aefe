// The disk is full, or fails: nothing half-done is kept, nothing that was
// acknowledged is lost, and work goes on when the disk does.

#include <gmock/gmock.h>

#include "tests/integration/storage/fault_vfs.h"
#include "tests/integration/storage/fixture.h"

namespace steadyrun {
namespace {

class DiskFaultTest : public StoreTest {
 protected:
  void SetUp() override {
    FaultVfs::Get().Reset();
    Open();
  }
  void TearDown() override {
    FaultVfs::Get().Reset();
    Close();
  }
  // One transaction of several tables; `n` tells them apart.
  std::vector<Change> Batch(std::int64_t n) {
    RunState run = MakeRun("r");
    run.max_step = Step{n};
    return {run, MakeStep("r", 1, n, 64),
            NodeCursor{"node-0", "boot", {static_cast<std::uint64_t>(n)}},
            AuditEntry{clock_.WallNow(), "ann", "checkpoint", "r", "why",
                       "accepted", "req-" + std::to_string(n)},
            RequestDone{"req-" + std::to_string(n), "ok"}};
  }
  absl::Status TryApply(std::int64_t n) {
    return store_->Apply(Batch(n), clock_.Both());
  }
  // Every table of the batches shows exactly 1..n.
  void ExpectBatches(std::int64_t n) {
    Open();
    const Snapshot snapshot = LoadAll();
    ASSERT_EQ(snapshot.runs.size(), 1u);
    EXPECT_EQ(snapshot.runs[0].max_step, Step{n});
    EXPECT_EQ(snapshot.cursors.at(0).acked.value,
              static_cast<std::uint64_t>(n));
    EXPECT_EQ(snapshot.requests.size(), static_cast<std::size_t>(n));
    EXPECT_EQ(store_->history().Steps({.run = "r"})->size(),
              static_cast<std::size_t>(n));
    const absl::StatusOr<AuditHead> head = store_->history().VerifyAudit();
    ASSERT_TRUE(head.ok()) << head.status();
    EXPECT_EQ(head->seq, n);
  }
};

TEST_F(DiskFaultTest, AFullDiskRefusesTheTransactionAndReadsGoOn) {
  ASSERT_TRUE(TryApply(1).ok());
  FaultVfs::Get().FailWritesAfter(0);
  for (int i = 0; i < 5; ++i) {
    const absl::Status status = TryApply(2);
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("full"));
  }
  EXPECT_EQ(store_->history().Run("r")->max_step, Step{1});
  EXPECT_EQ(store_->history().Audit("", 10)->size(), 1u);
  FaultVfs::Get().Reset();
  EXPECT_TRUE(TryApply(2).ok());
  ExpectBatches(2);
}

// Anomaly testing: the disk is full from the n-th write on, for every n until
// a transaction needs no more writes than that.
TEST_F(DiskFaultTest, FullFromTheNthWriteForEveryN) {
  ASSERT_TRUE(TryApply(1).ok());
  std::int64_t done = 1;
  bool was_refused = true;
  for (int n = 0; was_refused; ++n) {
    ASSERT_LT(n, 200);
    FaultVfs::Get().Reset();
    FaultVfs::Get().FailWritesAfter(n);
    const absl::Status status = TryApply(done + 1);
    was_refused = !status.ok();
    if (was_refused) {
      ASSERT_TRUE(absl::IsResourceExhausted(status)) << n << ": " << status;
      FaultVfs::Get().Reset();
      const absl::Status again = TryApply(done + 1);
      ASSERT_TRUE(again.ok()) << n << ": " << again;
    }
    ++done;
  }
  FaultVfs::Get().Reset();
  ExpectBatches(done);
}

TEST_F(DiskFaultTest, AFailedWriteIsTriedAgain) {
  ASSERT_TRUE(TryApply(1).ok());
  std::int64_t done = 1;
  bool was_refused = true;
  for (int n = 0; was_refused; ++n) {
    ASSERT_LT(n, 200);
    FaultVfs::Get().Reset();
    FaultVfs::Get().FailOneWriteAfter(n);
    const absl::Status status = TryApply(done + 1);
    was_refused = !status.ok();
    if (was_refused) {
      ASSERT_TRUE(absl::IsUnavailable(status)) << n << ": " << status;
      ASSERT_TRUE(TryApply(done + 1).ok()) << n;
    }
    ++done;
  }
  FaultVfs::Get().Reset();
  ExpectBatches(done);
}

// The kernel may have dropped the pages: the next sync that says OK proves
// nothing, so there is none.
TEST_F(DiskFaultTest, AFailedSyncIsTheEnd) {
  ASSERT_TRUE(TryApply(1).ok());
  FaultVfs::Get().FailSyncAfter(0);
  const absl::Status status = TryApply(2);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  FaultVfs::Get().Reset();
  EXPECT_TRUE(absl::IsDataLoss(TryApply(2)));
  EXPECT_EQ(FaultVfs::Get().Syncs(), 0);
  ExpectBatches(1);
}

TEST_F(DiskFaultTest, AFailedSyncOfTheMaintenanceIsTheEndToo) {
  ASSERT_TRUE(TryApply(1).ok());
  FaultVfs::Get().FailSyncAfter(0);
  EXPECT_TRUE(absl::IsDataLoss(store_->RunMaintenanceRound()));
  FaultVfs::Get().Reset();
  EXPECT_TRUE(absl::IsDataLoss(TryApply(2)));
  ExpectBatches(1);
}

TEST_F(DiskFaultTest, MaintenanceOnAFullDiskHarmsNothing) {
  for (std::int64_t n = 1; n <= 200; ++n) ASSERT_TRUE(TryApply(n).ok());
  for (int n = 0; n < 20; ++n) {
    FaultVfs::Get().Reset();
    FaultVfs::Get().FailWritesAfter(n);
    store_->RunMaintenanceRound().IgnoreError();
  }
  FaultVfs::Get().Reset();
  ASSERT_TRUE(store_->RunMaintenanceRound().ok());
  ExpectBatches(200);
}

TEST_F(DiskFaultTest, AStartOnAFullDiskSaysSoAndChangesNothing) {
  ASSERT_TRUE(TryApply(1).ok());
  // With a log to recover, as after a crash.
  FaultVfs::Get().FailWritesAfter(0);
  const absl::StatusOr<Snapshot> snapshot = store_->Load(clock_.Both());
  EXPECT_TRUE(absl::IsResourceExhausted(snapshot.status()))
      << snapshot.status();
  FaultVfs::Get().Reset();
  ExpectBatches(1);
}

}  // namespace
}  // namespace steadyrun
