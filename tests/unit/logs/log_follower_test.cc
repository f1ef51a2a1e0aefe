#include "agent/logs/log_follower.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace steadyrun::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LogFollowerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "log_follower_test." +
            std::to_string(::getpid());
    ::unlink(path_.c_str());
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::unlink((path_ + ".1").c_str());
  }
  void Append(const std::string& text) {
    std::ofstream(path_, std::ios::app | std::ios::binary) << text;
  }
  std::vector<std::string> Poll(LogFollower& follower) {
    now_ += std::chrono::milliseconds(100);
    std::vector<std::string> texts;
    for (LogLine& line : follower.Poll(now_)) {
      texts.push_back(line.is_cut ? line.text + "<cut>" : line.text);
    }
    return texts;
  }
  std::string path_;
  MonoTime now_{std::chrono::seconds(1)};
};

TEST_F(LogFollowerTest, WaitsForTheFileAndGivesWholeLines) {
  LogFollower follower(path_, {});
  EXPECT_THAT(Poll(follower), IsEmpty());

  Append("one\ntwo\nthr");
  EXPECT_THAT(Poll(follower), ElementsAre("one", "two"));
  Append("ee\n");
  EXPECT_THAT(Poll(follower), ElementsAre("three"));
  EXPECT_THAT(Poll(follower), IsEmpty());
}

TEST_F(LogFollowerTest, DrainGivesTheUnfinishedLine) {
  LogFollower follower(path_, {});
  Append("one\nlast words");

  const auto lines = follower.Drain(now_);

  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1].text, "last words");
  EXPECT_THAT(follower.Drain(now_), IsEmpty());
}

TEST_F(LogFollowerTest, LongLinesAreCutAndSaySo) {
  LogFollowerOptions options;
  options.max_line_bytes = 8;
  LogFollower follower(path_, options);
  Append("12345678\n123456789\nok\n");

  EXPECT_THAT(Poll(follower), ElementsAre("12345678", "12345678<cut>", "ok"));
}

TEST_F(LogFollowerTest, ALineOfManyMegabytesTakesNoMemory) {
  LogFollower follower(path_, {});
  for (int i = 0; i < 30; ++i) Append(std::string(100'000, 'x'));
  Append("\nnext\n");
  std::vector<std::string> lines;
  for (int i = 0; i < 10; ++i) {
    for (std::string& line : Poll(follower)) lines.push_back(std::move(line));
  }

  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].size(), 8192u + 5u);
  EXPECT_EQ(lines[1], "next");
}

TEST_F(LogFollowerTest, ReadsARotatedFileToItsEndAndGoesOnInTheNew) {
  LogFollower follower(path_, {});
  Append("old 1\n");
  EXPECT_THAT(Poll(follower), ElementsAre("old 1"));
  Append("old 2\n");
  ASSERT_EQ(::rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  Append("new 1\n");

  EXPECT_THAT(Poll(follower), ElementsAre("old 2", "new 1"));
}

TEST_F(LogFollowerTest, ATruncatedFileIsReadFromItsBegin) {
  LogFollower follower(path_, {});
  Append("a long first line\n");
  Poll(follower);
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  EXPECT_THAT(Poll(follower), IsEmpty());
  Append("again\n");

  EXPECT_THAT(Poll(follower), ElementsAre("again"));
}

TEST_F(LogFollowerTest, AFloodIsSampledAndCounted) {
  LogFollowerOptions options;
  options.bytes_per_second = 1000;
  options.burst_bytes = 10'000;
  options.max_line_bytes = 100;
  LogFollower follower(path_, options);
  std::string flood;
  for (int i = 0; i < 100'000; ++i) flood += "y\n";
  Append(flood);
  std::size_t read = 0;
  for (int i = 0; i < 20; ++i) read += Poll(follower).size();

  EXPECT_GT(read, 1000u);
  EXPECT_LT(read, 20'000u);
  EXPECT_GT(follower.skipped_bytes(), 150'000u);

  now_ += std::chrono::seconds(60);
  Append("after the flood\n");
  const auto last = Poll(follower);
  ASSERT_FALSE(last.empty());
  EXPECT_EQ(last.back(), "after the flood");
}

TEST_F(LogFollowerTest, AHoleIsSkipped) {
  LogFollower follower(path_, {});
  Append(std::string(1 << 20, 'a') + "\nend\n");
  const int fd = ::open(path_.c_str(), O_WRONLY);
  const int punched =
      ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20);
  ::close(fd);
  if (punched != 0) GTEST_SKIP() << "this file system has no holes";

  EXPECT_THAT(Poll(follower), ElementsAre("end"));
  EXPECT_EQ(follower.skipped_bytes(), 1u << 20);
}

TEST_F(LogFollowerTest, ASuccessorReadsOnAtWholeLines) {
  LogPosition position;
  {
    LogFollower follower(path_, {});
    Append("one\ntwo\nthr");
    Poll(follower);
    position = follower.position();
  }
  Append("ee\n");

  LogFollower successor(path_, {}, position);

  EXPECT_THAT(Poll(successor), ElementsAre("three"));
}

TEST_F(LogFollowerTest, APositionInAnotherFileIsIgnored) {
  Append("one\n");

  LogFollower follower(path_, {}, {12345, 2});

  EXPECT_THAT(Poll(follower), ElementsAre("one"));
}

}  // namespace
}  // namespace steadyrun::agent
