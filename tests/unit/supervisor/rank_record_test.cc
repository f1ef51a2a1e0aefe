#include "agent/supervisor/rank_record.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"

namespace steadyrun::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class RankStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "rank_store.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

LaunchRecord Launch(const std::string& recorder = "") {
  LaunchRecord launch{};
  launch.attempt = 2;
  launch.rank = 3;
  std::memcpy(launch.recorder, recorder.data(), recorder.size());
  return launch;
}

TEST_F(RankStoreTest, ARecordIsAllocatedWholeAndReadBack) {
  const RankStore store(directory_);
  const RankKey key{"run-1", AttemptId{2}, Rank{3}};

  ASSERT_TRUE(store.Create(key, Launch()).ok());

  const std::string record = store.FilesOf(key).record;
  struct stat info {};
  ASSERT_EQ(::stat(record.c_str(), &info), 0);
  EXPECT_EQ(info.st_size, static_cast<off_t>(kRecordBlock * kRecordBlocks));
  EXPECT_GT(info.st_blocks, 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_TRUE(ReadLaunch(record).has_value());
  EXPECT_EQ(ReadLaunch(record)->rank, 3);
  EXPECT_FALSE(ReadIdentity(record).has_value());
  EXPECT_FALSE(ReadEnd(record).has_value());
  EXPECT_EQ(ReadReport(record).is_reported, 0u);
  EXPECT_TRUE(absl::IsAlreadyExists(store.Create(key, Launch())));
  ASSERT_TRUE(WriteReport(record, {1, 1}).ok());
  EXPECT_EQ(ReadReport(record).is_gone, 1u);
  EXPECT_EQ(ReadLaunch(record)->rank, 3) << "blocks are apart";
}

TEST_F(RankStoreTest, EveryFlippedBitOfABlockIsDetected) {
  const RankStore store(directory_);
  const RankKey key{"run-1", AttemptId{2}, Rank{3}};
  ASSERT_TRUE(store.Create(key, Launch()).ok());
  const std::string whole = *ReadFile(store.FilesOf(key).record);
  RecordBytes bytes;
  LaunchRecord launch;

  for (std::size_t bit = 0; bit < (16 + sizeof launch) * 8; ++bit) {
    std::memcpy(&bytes, whole.data(), sizeof bytes);
    auto* at = reinterpret_cast<unsigned char*>(&bytes) + bit / 8;
    *at = static_cast<unsigned char>(*at ^ (1u << (bit % 8)));
    ASSERT_FALSE(DecodeRecord(RecordBlock::kLaunch, bytes, &launch)) << bit;
  }
}

TEST_F(RankStoreTest, ABlockIsNotTakenForAnother) {
  const ReportRecord report{1, 1};
  const RecordBytes bytes = EncodeRecord(RecordBlock::kReport, report);
  ReportRecord out;

  EXPECT_TRUE(DecodeRecord(RecordBlock::kReport, bytes, &out));
  EXPECT_FALSE(DecodeRecord(RecordBlock::kEnd, bytes, &out));
}

TEST_F(RankStoreTest, AStrangeRunNameStaysInside) {
  const RankStore store(directory_);

  const RankFiles files = store.FilesOf({"..", AttemptId{1}, Rank{0}});

  EXPECT_THAT(files.record, StartsWith(directory_ + "/ranks/r-../attempt-1/"));
}

TEST_F(RankStoreTest, ListsWhatItMadeAndNothingElse) {
  const RankStore store(directory_);
  const RankKey first{"..", AttemptId{1}, Rank{0}};
  const RankKey second{"run-1", AttemptId{2}, Rank{10}};
  const RankKey third{"run-1", AttemptId{10}, Rank{2}};
  for (const RankKey& key : {third, first, second}) {
    ASSERT_TRUE(store.Create(key, Launch()).ok());
  }
  for (const char* stray :
       {"ranks/notes", "ranks/r-run-1/attempt-x", "ranks/r-run-1/attempt-2/y",
        "ranks/r-run-1/attempt--2/rank-1", "ranks/r-"}) {
    std::filesystem::create_directories(directory_ + "/" + stray);
  }

  EXPECT_THAT(store.List(), ElementsAre(first, second, third));
}

TEST_F(RankStoreTest, RemovalTakesTheRecorderAlong) {
  const RankStore store(directory_);
  const RankKey key{"run-1", AttemptId{2}, Rank{3}};
  const std::string recorder = directory_ + "/recorder";
  std::ofstream(recorder) << "x";
  std::ofstream(recorder + ".cursor") << "x";
  ASSERT_TRUE(store.Create(key, Launch(recorder)).ok());

  store.RemoveRank(key);

  EXPECT_THAT(store.List(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(recorder));
  EXPECT_FALSE(std::filesystem::exists(recorder + ".cursor"));
  EXPECT_FALSE(std::filesystem::exists(store.RunDirectory("run-1")));
}

}  // namespace
}  // namespace steadyrun::agent
