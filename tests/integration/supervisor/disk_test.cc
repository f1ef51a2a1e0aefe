// Goal: a full disk under the logs neither blocks nor ends a training, and its
// exit status is known all the same. Method: a tmpfs of one megabyte; needs
// the right to mount and is skipped without.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/supervisor/rank_record.h"
#include "agent/supervisor/state_file.h"
#include "base/file.h"
#include "tests/integration/supervisor/fixture.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;

class FullDiskTest : public SupervisorTest {
 protected:
  void SetUp() override {
    SupervisorTest::SetUp();
    supervisor_ = nullptr;
    if (::mount("tmpfs", directory_.c_str(), "tmpfs", 0, "size=1m") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs here";
    }
    is_mounted_ = true;
    supervisor_ = NewSupervisor();
  }
  void TearDown() override {
    if (supervisor_ != nullptr) {
      ::unlink(InDirectory("filler").c_str());
    }
    SupervisorTest::TearDown();
    supervisor_ = nullptr;
    if (is_mounted_) ::umount2(directory_.c_str(), MNT_DETACH);
    ::rmdir(directory_.c_str());
  }
  void FillDisk() {
    const int fd = ::open(InDirectory("filler").c_str(),
                          O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    const std::string page(4096, 'x');
    while (::write(fd, page.data(), page.size()) > 0) {
    }
    ::close(fd);
  }
  bool is_mounted_ = false;
};

TEST_F(FullDiskTest, PrintingGoesOnAndTheExitCodeIsKnown) {
  // 300 kB of output, some kilobytes at a time: more than was reserved.
  Spawn(
      "echo $$ > ready; while [ ! -e full ]; do sleep 0.01; done; "
      "line=$(printf '%01000d' 7); i=0; "
      "while [ $i -lt 300 ]; do i=$((i+1)); echo $i $line || exit 99; "
      "[ $((i % 20)) = 0 ] && sleep 0.1; done; exit 6");
  ASSERT_TRUE(PumpUntilFile("ready"));
  ASSERT_EQ(::mkdir(InDirectory("full").c_str(), 0700), 0);
  FillDisk();

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{6, 0}));
  const auto tail = ReadFileTail(
      supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}}).stdout_path, 1500);
  ASSERT_TRUE(tail.ok());
  EXPECT_THAT(*tail, HasSubstr("\n300 0000"));
}

TEST_F(FullDiskTest, AStartOnAFullDiskIsRefusedAndSaysWhy) {
  FillDisk();

  Spawn("exit 0");

  ASSERT_TRUE(PumpUntil([&] { return !Seen<RankSpawnFailed>().empty(); }));
  EXPECT_THAT(Seen<RankSpawnFailed>()[0].error, HasSubstr("No space left"));
}

TEST_F(FullDiskTest, TheFenceIsWrittenOnAFullDisk) {
  auto file = StateFile::Open(InDirectory("state"));
  ASSERT_TRUE(file.ok()) << file.status();
  FillDisk();

  DurableState state;
  state.state_uuid = "uuid";
  for (int i = 1; i <= 20; ++i) {
    state.runs.push_back({"run-" + std::to_string(i), AttemptId{i}, {}, 0});
    ASSERT_TRUE(file->Write(state).ok());
  }
}

}  // namespace
}  // namespace steadyrun::agent
