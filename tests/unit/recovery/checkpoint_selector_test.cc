#include "server/recovery/checkpoint_selector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;
using enum CheckpointState;

TEST(CheckpointSelectorTest, TheNewestUsableOneIsTaken) {
  CheckpointMap map;
  AddTo(&map, TestCheckpoint(10, 1, kTrusted));
  AddTo(&map, TestCheckpoint(20, 1, kVerified));
  AddTo(&map, TestCheckpoint(30, 1, kWritten));

  const CheckpointChoice choice = SelectCheckpoint(map, {}, {});

  ASSERT_NE(choice.checkpoint, nullptr);
  EXPECT_EQ(choice.checkpoint->step, Step{20});
  EXPECT_THAT(choice.reason, HasSubstr("30 is written"));
}

TEST(CheckpointSelectorTest, ADistrustedOneIsNeverTaken) {
  CheckpointMap map;
  AddTo(&map, TestCheckpoint(20, 1, kDistrusted));

  EXPECT_EQ(SelectCheckpoint(map, {}, {}).checkpoint, nullptr);
  EXPECT_EQ(SelectCheckpoint(map, {}, Step{20}).checkpoint, nullptr);
}

TEST(CheckpointSelectorTest, TheBoundIsExclusive) {
  CheckpointMap map;
  AddTo(&map, TestCheckpoint(10, 1, kVerified));
  AddTo(&map, TestCheckpoint(20, 1, kVerified));

  EXPECT_EQ(SelectCheckpoint(map, Step{20}, {}).checkpoint->step, Step{10});
  EXPECT_EQ(SelectCheckpoint(map, Step{21}, {}).checkpoint->step, Step{20});
  EXPECT_EQ(SelectCheckpoint(map, Step{10}, {}).checkpoint, nullptr);
}

TEST(CheckpointSelectorTest, OfEqualStepsTheNewerAttemptsIsTaken) {
  CheckpointMap map;
  AddTo(&map, TestCheckpoint(20, 1, kVerified));
  AddTo(&map, TestCheckpoint(20, 3, kVerified));

  EXPECT_EQ(SelectCheckpoint(map, {}, {}).checkpoint->attempt, AttemptId{3});
}

TEST(CheckpointSelectorTest, AnExactStepMustExist) {
  CheckpointMap map;
  AddTo(&map, TestCheckpoint(20, 1, kVerified));

  EXPECT_EQ(SelectCheckpoint(map, {}, Step{19}).checkpoint, nullptr);
  EXPECT_THAT(SelectCheckpoint(map, {}, Step{19}).reason,
              HasSubstr("no usable checkpoint at step 19"));
}

TEST(CheckpointSelectorTest, EachRankLoadsItsOwnShardOrTheSaversBelowIt) {
  Checkpoint checkpoint = TestCheckpoint(20, 1, kVerified);
  EXPECT_EQ(ShardOf(checkpoint, Rank{3})->rank, Rank{3});

  // One rank a node saves: 0 and 2.
  checkpoint.shards.erase(1);
  checkpoint.shards.erase(3);
  EXPECT_EQ(ShardOf(checkpoint, Rank{1})->rank, Rank{0});
  EXPECT_EQ(ShardOf(checkpoint, Rank{3})->rank, Rank{2});

  checkpoint.shards.erase(0);
  EXPECT_EQ(ShardOf(checkpoint, Rank{1}), nullptr);
}

}  // namespace
}  // namespace steadyrun
