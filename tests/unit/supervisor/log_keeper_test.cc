#include "agent/supervisor/shim/log_keeper.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace steadyrun::agent {
namespace {

class LogKeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ =
        ::testing::TempDir() + "log_keeper_test." + std::to_string(::getpid());
    ::unlink(path_.c_str());
  }
  void TearDown() override { ::unlink(path_.c_str()); }
  struct stat Stat() const {
    struct stat info {};
    EXPECT_EQ(::stat(path_.c_str(), &info), 0);
    return info;
  }
  std::string path_;
};

TEST_F(LogKeeperTest, ReservesBlocksAheadAndGivesThemBack) {
  LogKeeper log;
  log.Open(path_.c_str());

  EXPECT_FALSE(log.is_lost());
  EXPECT_EQ(Stat().st_size, 0);
  EXPECT_GE(Stat().st_blocks * 512, 128 << 10) << "the reserve";

  ASSERT_EQ(::write(log.fd(), "line\n", 5), 5);
  log.Tick();
  log.Close();

  EXPECT_EQ(Stat().st_size, 5);
  EXPECT_LE(Stat().st_blocks * 512, 16 << 10);
}

TEST_F(LogKeeperTest, ALongLogKeepsItsHeadAndItsTail) {
  LogKeeper log;
  log.Open(path_.c_str());
  const std::string chunk(1 << 20, 'x');
  for (int i = 0; i < 72; ++i) {
    ASSERT_EQ(::write(log.fd(), chunk.data(), chunk.size()),
              static_cast<ssize_t>(chunk.size()));
    log.Tick();
  }
  log.Close();

  EXPECT_EQ(Stat().st_size, 72 << 20) << "offsets never change";
  EXPECT_LT(Stat().st_blocks * 512, 66 << 20);
  char byte = 0;
  const int fd = ::open(path_.c_str(), O_RDONLY);
  ASSERT_EQ(::pread(fd, &byte, 1, 100), 1);
  EXPECT_EQ(byte, 'x') << "the head";
  ASSERT_EQ(::pread(fd, &byte, 1, 4 << 20), 1);
  EXPECT_EQ(byte, '\0') << "the hole";
  ASSERT_EQ(::pread(fd, &byte, 1, (72 << 20) - 1), 1);
  EXPECT_EQ(byte, 'x') << "the tail";
  ::close(fd);
}

TEST_F(LogKeeperTest, GoesOnAfterATruncation) {
  LogKeeper log;
  log.Open(path_.c_str());
  ASSERT_EQ(::write(log.fd(), "0123456789", 10), 10);
  log.Tick();
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  log.Tick();
  ASSERT_EQ(::write(log.fd(), "new", 3), 3);
  log.Tick();
  log.Close();

  EXPECT_EQ(Stat().st_size, 3);
}

TEST_F(LogKeeperTest, WritesNowhereWhereThereIsNoFile) {
  LogKeeper log;
  log.Open("/no/such/directory/log");

  EXPECT_TRUE(log.is_lost());
  EXPECT_EQ(::write(log.fd(), "x", 1), 1);
  log.Tick();
  log.Close();
}

}  // namespace
}  // namespace steadyrun::agent
