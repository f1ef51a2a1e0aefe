#include "agent/recorder/recorder_file.h"

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <thread>

#include "tests/unit/recorder/writer.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;

TEST(RecorderFileTest, IsFullyAllocatedAndOfTheRank) {
  const std::string path = TempPath("new");

  ASSERT_TRUE(CreateRecorder(path, SpecOf(1)).ok());

  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(info.st_size), RecorderBytes(1024));
  EXPECT_GE(info.st_blocks * 512, info.st_size) << "holes can fault";
  const auto file = RecorderFile::Open(path, SpecOf(1));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->step_count(), 1024u);
  srun_writer writer;
  ASSERT_TRUE(file->ReadWriter(&writer));
  EXPECT_EQ(writer.step, -1);
  EXPECT_EQ(writer.phase, 1u);
  EXPECT_EQ(writer.pid, 0u);
}

TEST(RecorderFileTest, IsNotMadeTwice) {
  const std::string path = TempPath("twice");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(1)).ok());

  EXPECT_TRUE(absl::IsAlreadyExists(CreateRecorder(path, SpecOf(1))));
}

TEST(RecorderFileTest, OfAnotherRankOrAttemptIsRefused) {
  const std::string path = TempPath("other");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(1)).ok());

  EXPECT_EQ(RecorderFile::Open(path, SpecOf(2)).status().code(),
            absl::StatusCode::kInvalidArgument);
  RecorderSpec later = SpecOf(1);
  later.attempt = AttemptId{4};
  EXPECT_THAT(std::string(RecorderFile::Open(path, later).status().message()),
              HasSubstr("expected run 'run-1' attempt 4 rank 1"));
}

TEST(RecorderFileTest, ARingThatIsNoPowerOfTwoIsRefused) {
  for (const std::uint32_t steps : {0u, 1u, 7u, 1000u, 1u << 17}) {
    EXPECT_EQ(CreateRecorder(TempPath("ring"), SpecOf(0, steps)).code(),
              absl::StatusCode::kInvalidArgument)
        << steps;
  }
}

TEST(RecorderFileTest, OnAFullDiskSaysSoAndLeavesNothing) {
  std::string directory = ::testing::TempDir() + "recorder_full.XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  if (::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=64k") != 0) {
    ::rmdir(directory.c_str());
    GTEST_SKIP() << "cannot mount a tmpfs here";
  }
  const std::string path = directory + "/recorder";
  const std::string elsewhere = TempPath("elsewhere");

  const absl::Status full = CreateRecorder(path, SpecOf(0));
  const auto first = CreateRecorderInFirst({path, elsewhere}, SpecOf(0));

  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("free some space"));
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*first, elsewhere);
  ::umount2(directory.c_str(), MNT_DETACH);
  ::rmdir(directory.c_str());
}

TEST(RecorderFileTest, ATruncatedFileIsAnErrorNotASignal) {
  const std::string path = TempPath("cut");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());
  auto file = RecorderFile::Open(path, SpecOf(0));
  ASSERT_TRUE(file.ok());

  ASSERT_EQ(::truncate(path.c_str(), 100), 0);

  srun_writer writer;
  srun_step step;
  EXPECT_FALSE(file->ReadWriter(&writer));
  EXPECT_FALSE(file->ReadStep(0, &step));
  EXPECT_EQ(file->ReadName(0), "");
}

TEST(RecorderFileTest, ASymbolicLinkOrADirectoryIsRefused) {
  const std::string path = TempPath("real");
  const std::string link = TempPath("link");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());
  ASSERT_EQ(::symlink(path.c_str(), link.c_str()), 0);

  EXPECT_FALSE(RecorderFile::Open(link, SpecOf(0)).ok());
  EXPECT_FALSE(RecorderFile::Open(::testing::TempDir(), SpecOf(0)).ok());
}

TEST(RecorderFileTest, NamesAreChecked) {
  const std::string path = TempPath("names");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());
  RawWriter trainer(path);
  auto file = RecorderFile::Open(path, SpecOf(0));
  ASSERT_TRUE(file.ok());

  trainer.Name(0, "reward/mean");
  trainer.Name(1, "two words");
  trainer.Name(2, std::string(64, 'a'));
  trainer.Name(3, "\x1b[31m");

  EXPECT_EQ(file->ReadName(0), "reward/mean");
  EXPECT_EQ(file->ReadName(1), "");
  EXPECT_EQ(file->ReadName(2), std::string(64, 'a'));
  EXPECT_EQ(file->ReadName(3), "");
  EXPECT_EQ(file->ReadName(64), "");
  EXPECT_EQ(file->ReadName(~0u), "");
}

// A trainer that laps the reader all the time: whatever is taken is whole.
TEST(RecorderFileTest, NoTornStepIsEverTaken) {
  const std::string path = TempPath("torn");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0, 8)).ok());
  auto file = RecorderFile::Open(path, SpecOf(0, 8));
  ASSERT_TRUE(file.ok());
  RawWriter trainer(path, 8);
  std::atomic<bool> is_over{false};
  std::thread writing([&] {
    for (std::int64_t step = 0; !is_over; ++step) {
      const std::uint64_t number = trainer.writer()->steps_written;
      srun_step* at = trainer.slot(number);
      reinterpret_cast<std::atomic<std::uint64_t>*>(&at->seq)->store(
          0, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_release);
      at->step = step;
      at->end_mono_ns = static_cast<std::uint64_t>(step) * 3;
      at->end_unix_ns = static_cast<std::uint64_t>(step) * 7;
      at->reserved2[2] = static_cast<std::uint64_t>(step) * 11;
      reinterpret_cast<std::atomic<std::uint64_t>*>(&at->seq)->store(
          number + 1, std::memory_order_release);
      reinterpret_cast<std::atomic<std::uint64_t>*>(
          &trainer.writer()->steps_written)
          ->store(number + 1, std::memory_order_release);
    }
  });

  int taken = 0;
  for (int i = 0; i < 200'000 && taken < 20'000; ++i) {
    srun_writer writer;
    srun_step step;
    ASSERT_TRUE(file->ReadWriter(&writer));
    if (writer.steps_written == 0) continue;
    const std::uint64_t number =
        writer.steps_written - 1 - static_cast<std::uint64_t>(i % 4);
    if (!file->ReadStep(number, &step)) continue;
    ++taken;
    const auto expected = static_cast<std::uint64_t>(step.step);
    ASSERT_EQ(step.seq, number + 1);
    ASSERT_EQ(expected, number);
    ASSERT_EQ(step.end_mono_ns, expected * 3);
    ASSERT_EQ(step.end_unix_ns, expected * 7);
    ASSERT_EQ(step.reserved2[2], expected * 11);
  }
  is_over = true;
  writing.join();
  EXPECT_GT(taken, 0);
}

TEST(RecorderFileTest, ACommandIsReadBack) {
  const std::string path = TempPath("command");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());
  auto file = RecorderFile::Open(path, SpecOf(0));
  ASSERT_TRUE(file.ok());
  srun_command command{};
  command.seq = 5;
  command.action = SRUN_ACTION_SAVE_STOP;
  command.step = 123;

  ASSERT_TRUE(file->WriteCommand(command).ok());

  srun_command read;
  ASSERT_TRUE(file->ReadCommand(&read));
  EXPECT_EQ(read.seq, 5u);
  EXPECT_EQ(read.action, static_cast<std::uint32_t>(SRUN_ACTION_SAVE_STOP));
  EXPECT_EQ(read.step, 123);
}

}  // namespace
}  // namespace steadyrun::agent
