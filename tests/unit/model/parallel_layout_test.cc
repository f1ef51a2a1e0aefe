#include "server/model/parallel_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace steadyrun {
namespace {

using testing::HasSubstr;

TEST(ParallelLayoutTest, MegatronsOrder) {
  // tensor 2, data 4, pipeline 2; experts over pairs of data ranks.
  const RankPlaces places({.tensor = 2, .pipeline = 2, .expert = 2}, 16);
  EXPECT_EQ(places.Note(), "");
  EXPECT_EQ(places.Stages(), 2u);
  EXPECT_EQ(places.StageSize(), 8u);
  EXPECT_EQ(places.Replicas(), 4u);
  EXPECT_EQ(places.Shards(), 8u);
  EXPECT_EQ(places.ReplicasPerShard(), 2u);
  // Rank 13 = tensor 1 + 2 * (data 2 + 4 * stage 1).
  EXPECT_EQ(places.TensorOf(13), 1u);
  EXPECT_EQ(places.ReplicaOf(13), 2u);
  EXPECT_EQ(places.ExpertOf(13), 0u);
  EXPECT_EQ(places.StageOf(13), 1u);
  EXPECT_EQ(places.TensorGroupOf(12), places.TensorGroupOf(13));
  EXPECT_NE(places.TensorGroupOf(13), places.TensorGroupOf(14));
  EXPECT_EQ(places.ShardOf(13), places.ShardOf(9));   // Data 0: same expert.
  EXPECT_NE(places.ShardOf(13), places.ShardOf(11));  // Data 1: another.
}

TEST(ParallelLayoutTest, EveryShardHasItsReplicasAndNoMore) {
  for (const ParallelLayout& layout :
       {ParallelLayout{}, ParallelLayout{8, 4, 1}, ParallelLayout{1, 8, 4},
        ParallelLayout{4, 2, 16}}) {
    const RankPlaces places(layout, 128);
    ASSERT_EQ(places.Note(), "");
    std::map<std::size_t, std::size_t> count;
    for (std::size_t r = 0; r < 128; ++r) ++count[places.ShardOf(r)];
    EXPECT_EQ(count.size(), places.Shards());
    for (const auto& [shard, ranks] : count) {
      EXPECT_LT(shard, places.Shards());
      EXPECT_EQ(ranks, places.ReplicasPerShard());
    }
  }
}

TEST(ParallelLayoutTest, WhatDoesNotFitIsAllRanksAlike) {
  constexpr std::int32_t kHuge = 1 << 30;
  for (const ParallelLayout& layout :
       {ParallelLayout{3, 1, 1}, ParallelLayout{4, 4, 1},
        ParallelLayout{2, 2, 3}, ParallelLayout{0, 1, 1},
        ParallelLayout{-8, 1, 1}, ParallelLayout{kHuge, kHuge, kHuge}}) {
    const RankPlaces places(layout, 8);
    EXPECT_THAT(places.Note(), HasSubstr("world of 8 ranks"));
    EXPECT_EQ(places.Stages(), 1u);
    EXPECT_EQ(places.Shards(), 1u);
    EXPECT_EQ(places.ReplicasPerShard(), 8u);
  }
}

TEST(ParallelLayoutTest, AnEmptyWorldIsNoError) {
  const RankPlaces places({.tensor = 8}, 0);
  EXPECT_EQ(places.World(), 0u);
  EXPECT_EQ(places.Note(), "");
}

}  // namespace
}  // namespace steadyrun
