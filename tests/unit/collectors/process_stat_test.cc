#include "agent/collectors/process_stat.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"

namespace steadyrun::agent {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;

constexpr char kLine[] =
    "4242 (python) S 4000 4242 4000 0 -1 4194304 76 0 0 0 150 50 0 0 20 0 8 0 "
    "257668 3133440 379 18446744073709551615\n";

TEST(ProcessStatTest, ParsesTheFieldsThatCount) {
  const auto stat = ParseProcessStat(kLine, 100);

  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->pid, 4242);
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->parent, 4000);
  EXPECT_EQ(stat->group, 4242);
  EXPECT_EQ(stat->session, 4000);
  EXPECT_EQ(stat->threads, 8);
  EXPECT_EQ(stat->cpu_seconds, 2.0);
  EXPECT_EQ(stat->start_ticks, 257668u);
}

TEST(ProcessStatTest, ACommandMayHoldAnything) {
  const std::string text =
      "7 (a) R 9 (\n) T 1 7 7 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 5 0 0\n";

  const auto stat = ParseProcessStat(text, 100);

  ASSERT_TRUE(stat.has_value());
  EXPECT_EQ(stat->state, 'T');
  EXPECT_EQ(stat->start_ticks, 5u);
}

TEST(ProcessStatTest, EveryTruncationIsRefusedOrStillSane) {
  const std::string whole(kLine);
  const std::size_t needed = whole.find(" 3133440");
  for (std::size_t size = 0; size < needed; ++size) {
    const auto stat = ParseProcessStat(whole.substr(0, size), 100);
    // The last digits of the last field may be missing, nothing else.
    if (stat) {
      EXPECT_GT(size, whole.find(" 257668"));
    }
  }
}

TEST(ProcessStatTest, AZombieIsDeadOnlyWithoutThreads) {
  ProcessStat stat;
  stat.state = 'Z';
  stat.threads = 1;
  EXPECT_TRUE(stat.IsDead());
  stat.threads = 3;
  EXPECT_FALSE(stat.IsDead()) << "its main thread has ended, others run";
  stat.state = 'D';
  EXPECT_FALSE(stat.IsDead());
}

TEST(ProcessTableTest, SeesThisProcessAndItsStops) {
  const ProcessTable table;
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  ::kill(child, SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);

  const auto stopped = table.Stat(child);
  ::kill(child, SIGKILL);
  ASSERT_EQ(
      ::waitid(P_PID, static_cast<id_t>(child), nullptr, WEXITED | WNOWAIT), 0);
  const auto dead = table.Stat(child);
  ::waitpid(child, nullptr, 0);
  const auto gone = table.Stat(child);

  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->state, 'T');
  EXPECT_EQ(stopped->parent, ::getpid());
  ASSERT_TRUE(dead.ok());
  EXPECT_TRUE(dead->IsDead());
  EXPECT_TRUE(absl::IsNotFound(gone.status()));
}

TEST(ProcessTableTest, ListsPidsAndReadsEnvironments) {
  const ProcessTable table;

  const auto pids = table.Pids();

  EXPECT_THAT(pids, Contains(::getpid()));
  EXPECT_THAT(pids, Each(Ge(1)));
  const char* path = std::getenv("PATH");
  ASSERT_NE(path, nullptr);
  EXPECT_EQ(FindVariable(table.Environment(::getpid()), "PATH"), path);
  EXPECT_EQ(table.Environment(-1), "");
}

TEST(ProcessTableTest, ReadsAnotherRoot) {
  std::string root = ::testing::TempDir() + "proc.XXXXXX";
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  ASSERT_TRUE(MakeDirectories(root + "/4242").ok());
  ASSERT_TRUE(MakeDirectories(root + "/sys/kernel/random").ok());
  ASSERT_TRUE(WriteFileAtomically(root + "/4242/stat", kLine).ok());
  ASSERT_TRUE(WriteFileAtomically(root + "/4242/wchan", "futex_wait").ok());
  ASSERT_TRUE(
      WriteFileAtomically(root + "/sys/kernel/random/boot_id", "abc\n").ok());

  const ProcessTable table(root);

  EXPECT_THAT(table.Pids(), ElementsAre(4242));
  EXPECT_EQ(table.Stat(4242)->parent, 4000);
  EXPECT_EQ(table.WaitChannel(4242), "futex_wait");
  EXPECT_EQ(table.WaitChannel(1), "");
  EXPECT_EQ(*table.BootId(), "abc");
  EXPECT_TRUE(absl::IsUnavailable(ProcessTable("/no").BootId().status()));
}

TEST(FindVariableTest, NeedsTheWholeName) {
  const std::string environment("A=1\0LONG_A=2\0A_LONG=3\0EMPTY=\0", 29);

  EXPECT_EQ(FindVariable(environment, "A"), "1");
  EXPECT_EQ(FindVariable(environment, "A_LONG"), "3");
  EXPECT_EQ(FindVariable(environment, "EMPTY"), "");
  EXPECT_EQ(FindVariable(environment, "NONE"), std::nullopt);
  EXPECT_EQ(FindVariable("", "A"), std::nullopt);
}

}  // namespace
}  // namespace steadyrun::agent
