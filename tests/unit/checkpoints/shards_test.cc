#include "agent/checkpoints/shards.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/digest.h"
#include "base/file.h"

namespace steadyrun::agent {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ShardsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "shards.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string File(const std::string& name, const std::string& content) {
    const std::string path = directory_ + "/" + name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  CheckpointShard Shard(int step, const std::string& path, int attempt = 1) {
    CheckpointShard shard;
    shard.run = "run-1";
    shard.attempt = AttemptId{attempt};
    shard.step = Step{step};
    shard.rank = Rank{0};
    shard.path = path;
    shard.shards = 2;
    return HashShard(shard).shard;
  }
  // Two passes: a change counts when it has settled.
  std::vector<ShardFoundBad> CheckTwice(ShardWatch& watch) {
    auto bad = watch.Check();
    for (ShardFoundBad& found : watch.Check()) bad.push_back(std::move(found));
    return bad;
  }
  std::string directory_;
};

TEST_F(ShardsTest, AShardIsReadBack) {
  const CheckpointShard shard = Shard(5, File("a", "weights"));

  EXPECT_EQ(shard.error, "");
  EXPECT_EQ(shard.size_bytes, 7);
  EXPECT_EQ(shard.sha256, Sha256Hex("weights"));
  EXPECT_EQ(shard.shards, 2);
}

TEST_F(ShardsTest, AShardThatIsNotThereIsAnError) {
  EXPECT_THAT(Shard(5, directory_ + "/none").error, HasSubstr("No such file"));
}

TEST_F(ShardsTest, ADirectoryIsHashedWithNamesAndContent) {
  File("d/x", "1");
  File("d/sub/y", "2");
  const CheckpointShard before = Shard(5, directory_ + "/d");
  fs::rename(directory_ + "/d/x", directory_ + "/d/z");
  const CheckpointShard renamed = Shard(5, directory_ + "/d");
  fs::rename(directory_ + "/d/z", directory_ + "/d/x");

  EXPECT_EQ(before.error, "");
  EXPECT_EQ(before.size_bytes, 2);
  EXPECT_NE(before.sha256, renamed.sha256);
  EXPECT_EQ(before.sha256, Shard(5, directory_ + "/d").sha256);
}

TEST_F(ShardsTest, VerifyTellsEachShardApart) {
  const CheckpointShard good = Shard(5, File("good", "weights"));
  CheckpointShard changed = Shard(5, File("changed", "weights"));
  CheckpointShard cut = Shard(5, File("cut", "weights"));
  File("changed", "Weights");
  File("cut", "weight");
  VerifyShards order;
  order.command_id = "id";
  order.run = "run-1";
  order.attempt = AttemptId{2};
  for (const CheckpointShard& shard : {good, changed, cut}) {
    order.verify.shards.push_back(
        {shard.rank, shard.path, shard.size_bytes, shard.sha256});
  }
  order.verify.shards.push_back({Rank{3}, directory_ + "/none", 1, "x"});

  const ShardsVerified answer = RunVerifyShards(order);

  EXPECT_EQ(answer.command_id, "id");
  ASSERT_THAT(answer.checks, SizeIs(4));
  EXPECT_TRUE(answer.checks[0].ok);
  EXPECT_FALSE(answer.checks[1].ok);
  EXPECT_THAT(answer.checks[1].error, HasSubstr("sha256"));
  EXPECT_THAT(answer.checks[2].error, HasSubstr("6 bytes, expected 7"));
  EXPECT_THAT(answer.checks[3].error, HasSubstr("No such file"));
}

TEST_F(ShardsTest, TheWatchFindsChangedBytesOnce) {
  ShardWatch watch;
  const std::string path = File("a", "weights");
  watch.Add(Shard(5, path));
  EXPECT_THAT(CheckTwice(watch), IsEmpty());
  EXPECT_THAT(CheckTwice(watch), IsEmpty());

  File("a", "wEights");
  const auto bad = CheckTwice(watch);

  ASSERT_THAT(bad, SizeIs(1));
  EXPECT_EQ(bad[0].bad.path, path);
  EXPECT_EQ(bad[0].bad.step, Step{5});
  EXPECT_THAT(bad[0].bad.error, HasSubstr("sha256"));
  EXPECT_THAT(CheckTwice(watch), IsEmpty());
}

TEST_F(ShardsTest, AChangeBeforeTheFirstPassIsFoundToo) {
  ShardWatch watch;
  watch.Add(Shard(5, File("a", "weights")));
  File("a", "wEights");

  EXPECT_THAT(CheckTwice(watch), SizeIs(1));
}

TEST_F(ShardsTest, ATouchedFileWithTheSameBytesIsGood) {
  ShardWatch watch;
  watch.Add(Shard(5, File("a", "weights")));
  CheckTwice(watch);
  File("a", "weights");

  EXPECT_THAT(CheckTwice(watch), IsEmpty());
  EXPECT_EQ(watch.size(), 1u);
}

TEST_F(ShardsTest, AFileThatIsBeingWrittenOverIsNotJudgedHalfWay) {
  ShardWatch watch;
  const std::string path = File("latest", "step five");
  watch.Add(Shard(5, path));
  CheckTwice(watch);

  File("latest", "step");
  EXPECT_THAT(watch.Check(), IsEmpty());
  File("latest", "step six!");
  EXPECT_THAT(watch.Check(), IsEmpty());
  watch.Add(Shard(6, path));

  EXPECT_THAT(CheckTwice(watch), IsEmpty());
  EXPECT_EQ(watch.size(), 1u);
}

TEST_F(ShardsTest, ATrainerMayRemoveOldCheckpointsButNotTheNewest) {
  ShardWatch watch;
  const std::string old_path = File("5", "old");
  const std::string new_path = File("6", "new");
  watch.Add(Shard(5, old_path));
  watch.Add(Shard(6, new_path));
  CheckTwice(watch);

  fs::remove(old_path);
  EXPECT_THAT(CheckTwice(watch), IsEmpty());
  fs::remove(new_path);
  EXPECT_THAT(CheckTwice(watch), SizeIs(1));
}

TEST_F(ShardsTest, KeepsTheNewestStepsOfTheNewestAttempt) {
  ShardWatch watch(2);
  watch.Add(Shard(100, File("1/100", "a"), 1));
  watch.Add(Shard(200, File("1/200", "b"), 1));
  watch.Add(Shard(150, File("2/150", "c"), 2));
  EXPECT_EQ(watch.size(), 2u);

  File("1/100", "x");
  EXPECT_THAT(CheckTwice(watch), IsEmpty()) << "the oldest is not watched";
  File("2/150", "x");
  EXPECT_THAT(CheckTwice(watch), SizeIs(1)) << "the newest attempt is";
}

TEST_F(ShardsTest, AFileThatNobodyWritesIsJudgedAtOnce) {
  ShardWatch watch;
  const std::string path = File("a", "weights");
  watch.Add(Shard(5, path));
  CheckTwice(watch);

  File("a", "wEights");
  fs::last_write_time(path,
                      fs::file_time_type::clock::now() - std::chrono::hours(1));

  EXPECT_THAT(watch.Check(), SizeIs(1));
}

TEST_F(ShardsTest, ForgetsARun) {
  ShardWatch watch;
  watch.Add(Shard(5, File("a", "weights")));

  watch.Forget("run-1");

  EXPECT_EQ(watch.size(), 0u);
}

}  // namespace
}  // namespace steadyrun::agent
