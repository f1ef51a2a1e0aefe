#include "server/engine/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

CheckpointShard Shard(std::int64_t step, std::int32_t rank,
                      std::int32_t shards = 2, std::int64_t attempt = 1) {
  CheckpointShard shard;
  shard.run = "gpt";
  shard.attempt = AttemptId{attempt};
  shard.step = Step{step};
  shard.rank = Rank{rank};
  shard.path = "/p";
  shard.sha256 = "d";
  shard.size_bytes = 5;
  shard.shards = shards;
  shard.save_seconds = rank;
  return shard;
}

TEST(LedgerTest, AllShardsWithTheirDigestsMakeItVerified) {
  Ledger ledger;
  EXPECT_FALSE(ledger.Add(Shard(10, 0), {}).is_now_verified);
  EXPECT_EQ(ledger.Find(AttemptId{1}, Step{10})->state,
            CheckpointState::kWritten);

  const Ledger::Added added = ledger.Add(Shard(10, 1), {});

  EXPECT_TRUE(added.is_now_verified);
  EXPECT_EQ(added.checkpoint->state, CheckpointState::kVerified);
  EXPECT_EQ(added.checkpoint->SizeBytes(), 10);
  EXPECT_EQ(added.checkpoint->save_seconds, 1);
}

TEST(LedgerTest, AShardReportedTwiceCountsOnce) {
  Ledger ledger;
  ledger.Add(Shard(10, 0), {});
  EXPECT_FALSE(ledger.Add(Shard(10, 0), {}).is_now_verified);
}

TEST(LedgerTest, AShardThatCannotBeReadBackSpoilsIt) {
  Ledger ledger;
  ledger.Add(Shard(10, 0), {});
  CheckpointShard bad = Shard(10, 1);
  bad.error = "short read";

  EXPECT_FALSE(ledger.Add(bad, {}).is_now_verified);

  EXPECT_EQ(ledger.Find(AttemptId{1}, Step{10})->state,
            CheckpointState::kDistrusted);
  EXPECT_FALSE(IsUsable(*ledger.Find(AttemptId{1}, Step{10})));
}

TEST(LedgerTest, DistrustIsForEver) {
  Ledger ledger;
  ledger.Add(Shard(10, 0), {});
  EXPECT_TRUE(ledger.Distrust(AttemptId{1}, Step{10}, "why"));
  EXPECT_FALSE(ledger.Distrust(AttemptId{1}, Step{10}, "again"));
  ledger.Add(Shard(10, 1), {});
  ledger.Trust(AttemptId{1}, kNoAttempt, kNoStep, Step{99}, 20);

  EXPECT_EQ(ledger.Find(AttemptId{1}, Step{10})->state,
            CheckpointState::kDistrusted);
  EXPECT_EQ(ledger.Find(AttemptId{1}, Step{10})->reason, "why");
}

TEST(LedgerTest, DistrustFromTakesTheStepAndAllLater) {
  Ledger ledger;
  for (const int step : {10, 20, 30}) ledger.Add(Shard(step, 0, 1), {});
  ledger.DistrustFrom(Step{20}, "nan");

  EXPECT_TRUE(IsUsable(*ledger.Find(AttemptId{1}, Step{10})));
  EXPECT_FALSE(IsUsable(*ledger.Find(AttemptId{1}, Step{20})));
  EXPECT_FALSE(IsUsable(*ledger.Find(AttemptId{1}, Step{30})));
}

TEST(LedgerTest, HealthyStepsEarnTrustInTheOwnLineageOnly) {
  Ledger ledger;
  ledger.Add(Shard(10, 0, 1, 1), {});
  ledger.Add(Shard(15, 0, 1, 1), {});
  ledger.Add(Shard(20, 0, 1, 2), {});

  // Attempt 2 resumed from step 10 of attempt 1, not from 15.
  ledger.Trust(AttemptId{2}, AttemptId{1}, Step{10}, Step{39}, 20);
  EXPECT_EQ(ledger.Find(AttemptId{1}, Step{10})->state,
            CheckpointState::kTrusted);
  EXPECT_EQ(ledger.Find(AttemptId{1}, Step{15})->state,
            CheckpointState::kVerified);
  EXPECT_EQ(ledger.Find(AttemptId{2}, Step{20})->state,
            CheckpointState::kVerified);

  ledger.Trust(AttemptId{2}, AttemptId{1}, Step{10}, Step{40}, 20);
  EXPECT_EQ(ledger.Find(AttemptId{2}, Step{20})->state,
            CheckpointState::kTrusted);
}

TEST(LedgerTest, ChangesAreHandedOutOnce) {
  Ledger ledger;
  ledger.Add(Shard(10, 0), {});
  ledger.Add(Shard(10, 1), {});
  EXPECT_THAT(ledger.TakeChanged(), SizeIs(1));
  EXPECT_THAT(ledger.TakeChanged(), IsEmpty());
}

TEST(LedgerTest, TheOldestFallOut) {
  Ledger ledger;
  for (std::size_t i = 0; i < Ledger::kMaxEntries + 3; ++i) {
    ledger.Add(Shard(static_cast<std::int64_t>(i), 0, 1), {});
    ledger.TakeChanged();
  }
  EXPECT_THAT(ledger.All(), SizeIs(Ledger::kMaxEntries));
  EXPECT_EQ(ledger.Find(AttemptId{1}, Step{2}), nullptr);
  EXPECT_NE(ledger.Find(AttemptId{1}, Step{3}), nullptr);
}

}  // namespace
}  // namespace steadyrun
