#include "agent/supervisor/state_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;

DurableState StateOf(int number) {
  DurableState state;
  state.state_uuid = "uuid-1";
  state.max_server_epoch = static_cast<std::uint64_t>(number);
  state.server_id = "server";
  state.next_seq = ReportSeq{1000};
  state.runs.push_back({"run-1", AttemptId{number}, AttemptId{number - 1}, 7});
  state.runs.push_back({"run-2", AttemptId{1}, AttemptId{0}, 0});
  return state;
}

class StateFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ =
        ::testing::TempDir() + "state_file_test." + std::to_string(::getpid());
    ::unlink(path_.c_str());
  }
  void TearDown() override { ::unlink(path_.c_str()); }
  StateFile Open() {
    auto file = StateFile::Open(path_);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }
  void Overwrite(std::size_t at, const std::string& bytes) {
    const int fd = ::open(path_.c_str(), O_WRONLY);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(bytes.size()));
    ::close(fd);
  }
  std::string path_;
};

TEST_F(StateFileTest, ANewFileHoldsNothing) {
  const StateFile file = Open();

  EXPECT_FALSE(file.loaded().has_value());
  EXPECT_FALSE(file.was_damaged());
}

TEST_F(StateFileTest, TheNewestStateComesBack) {
  for (int number = 1; number <= 5; ++number) {
    {
      StateFile file = Open();
      ASSERT_TRUE(file.Write(StateOf(number)).ok());
      ASSERT_TRUE(file.Write(StateOf(number + 100)).ok());
      ASSERT_TRUE(file.Write(StateOf(number)).ok());
    }
    const StateFile file = Open();
    ASSERT_TRUE(file.loaded().has_value());
    EXPECT_EQ(*file.loaded(), StateOf(number));
  }
}

TEST_F(StateFileTest, IsAllocatedOnceAndNeverGrows) {
  StateFile file = Open();
  struct stat before {};
  ASSERT_EQ(::stat(path_.c_str(), &before), 0);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(file.Write(StateOf(i)).ok());

  struct stat after {};
  ASSERT_EQ(::stat(path_.c_str(), &after), 0);
  EXPECT_EQ(before.st_size, 2 * static_cast<off_t>(StateFile::kSlotBytes));
  EXPECT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(after.st_blocks, before.st_blocks);
}

TEST_F(StateFileTest, ATornWriteLeavesTheStateBefore) {
  {
    StateFile file = Open();
    ASSERT_TRUE(file.Write(StateOf(1)).ok());  // Slot 1.
    ASSERT_TRUE(file.Write(StateOf(2)).ok());  // Slot 0.
  }
  const std::string torn = EncodeStateSlot({3, StateOf(3)});
  for (std::size_t size = 0; size <= torn.size(); ++size) {
    Overwrite(StateFile::kSlotBytes, torn.substr(0, size));
    const StateFile file = Open();
    ASSERT_TRUE(file.loaded().has_value()) << size;
    // The bytes behind the tear may be the same as before by chance.
    const std::string slot =
        ReadFile(path_)->substr(StateFile::kSlotBytes, torn.size());
    const int expected = slot == torn ? 3 : 2;
    ASSERT_EQ(*file.loaded(), StateOf(expected)) << size;
  }
}

TEST_F(StateFileTest, DamageToBothSlotsIsALostState) {
  {
    StateFile file = Open();
    ASSERT_TRUE(file.Write(StateOf(1)).ok());
    ASSERT_TRUE(file.Write(StateOf(2)).ok());
  }
  Overwrite(40, "\xff\xff");
  Overwrite(StateFile::kSlotBytes + 40, "\xff\xff");

  const StateFile file = Open();

  EXPECT_FALSE(file.loaded().has_value());
  EXPECT_TRUE(file.was_damaged());
}

TEST_F(StateFileTest, ASlotCopiedToTheOtherPlaceIsNotTaken) {
  {
    StateFile file = Open();
    ASSERT_TRUE(file.Write(StateOf(1)).ok());
  }
  Overwrite(0, EncodeStateSlot({5, StateOf(9)}));

  EXPECT_EQ(*Open().loaded(), StateOf(1));
}

TEST_F(StateFileTest, OneAgentAtATime) {
  const StateFile first = Open();

  const auto second = StateFile::Open(path_);

  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("another agent"));
}

TEST_F(StateFileTest, WhatDoesNotFitIsRefusedAndTheOldStateStays) {
  {
    StateFile file = Open();
    ASSERT_TRUE(file.Write(StateOf(1)).ok());
    DurableState huge = StateOf(2);
    for (int i = 0; i < 2000; ++i) {
      huge.runs.push_back({std::string(60, 'r'), AttemptId{1}, {}, 0});
    }
    EXPECT_EQ(file.Write(huge).code(), absl::StatusCode::kResourceExhausted);
  }
  EXPECT_EQ(*Open().loaded(), StateOf(1));
}

TEST(StateSlotTest, EveryTruncationIsDetected) {
  const std::string bytes = EncodeStateSlot({3, StateOf(3)});
  ASSERT_TRUE(DecodeStateSlot(bytes).has_value());

  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeStateSlot(bytes.substr(0, size)).has_value()) << size;
  }
}

TEST(StateSlotTest, EveryFlippedBitIsDetected) {
  const std::string bytes = EncodeStateSlot({3, StateOf(3)});

  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(DecodeStateSlot(flipped).has_value()) << bit;
  }
}

TEST(StateSlotTest, BytesBehindTheBodyDoNotMatter) {
  const std::string bytes = EncodeStateSlot({3, StateOf(3)}) + "older, longer";

  const auto slot = DecodeStateSlot(bytes);

  ASSERT_TRUE(slot.has_value());
  EXPECT_EQ(slot->counter, 3u);
  EXPECT_EQ(slot->state, StateOf(3));
}

}  // namespace
}  // namespace steadyrun::agent
