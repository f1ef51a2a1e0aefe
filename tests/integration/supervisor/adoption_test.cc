// Goal: an agent may die at any moment and its successor takes the ranks over
// with nothing lost, and touches nothing that is not its own. Method: a first
// supervisor in a child process that is SIGKILLed, or dropped without a word.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/collectors/process_stat.h"
#include "agent/supervisor/rank_environment.h"
#include "agent/supervisor/rank_record.h"
#include "agent/supervisor/shim_spawn.h"
#include "base/digest.h"
#include "base/file.h"
#include "tests/integration/supervisor/fixture.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Duration kAtOnce = Duration::zero();

class AdoptionTest : public SupervisorTest {
 protected:
  // Starts the script under an agent in a process of its own, and kills that
  // agent when the rank has written the file `until`.
  void SpawnUnderAnAgentThatDies(const std::string& script,
                                 const std::string& until) {
    const pid_t agent = ::fork();
    if (agent == 0) {
      auto doomed = NewSupervisor();
      SpawnRank spawn = ShellRank(script);
      spawn.start.working_directory = directory_;
      doomed->Spawn(spawn, "", OwnEnvironment(), 1);
      for (;;) {
        doomed->Poll(Time());
        ::usleep(1000);  // Pace: as the agent polls.
      }
    }
    // The rank may be quicker than its shim's record of it.
    ASSERT_TRUE(PumpUntilFile(until));
    ASSERT_TRUE(PumpUntil([&] { return ShimPid() != 0; }));
    ::kill(agent, SIGKILL);
    ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);
  }

  void Restart() { supervisor_ = NewSupervisor(); }
};

TEST_F(AdoptionTest, TheRankLivesOnAndIsTakenOver) {
  SpawnUnderAnAgentThatDies("echo $$ > pid; exec sleep 1000", "pid");
  ASSERT_TRUE(IsAlive(NumberIn("pid")));

  Restart();
  const auto survivors = supervisor_->Adopt(Time());

  ASSERT_THAT(survivors, SizeIs(1));
  EXPECT_EQ(survivors[0].run, kRun);
  EXPECT_EQ(survivors[0].started, AttemptId{1});
  ASSERT_THAT(survivors[0].ranks, SizeIs(1));
  EXPECT_EQ(survivors[0].ranks[0].life, RankLife::kAlive);
  EXPECT_EQ(survivors[0].ranks[0].pid, NumberIn("pid"));
  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());
  ASSERT_TRUE(PumpUntilGone());
  EXPECT_TRUE(Exit().killed_by_agent);
}

TEST_F(AdoptionTest, TheExitCodeOfTheMeantimeIsRead) {
  SpawnUnderAnAgentThatDies(
      "echo 1 > ready; while [ ! -e go ]; do sleep 0.01; done; exit 42",
      "ready");
  ASSERT_TRUE(WriteFileAtomically(InDirectory("go"), "1").ok());
  const std::string record =
      supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}}).record;
  ASSERT_TRUE(PumpUntil([&] {
    const auto end = ReadEnd(record);
    return end && end->all_gone != 0;
  }));

  Restart();
  const auto survivors = supervisor_->Adopt(Time());

  ASSERT_THAT(survivors, SizeIs(1));
  EXPECT_EQ(survivors[0].ranks[0].life, RankLife::kAlive) << "told by Poll";
  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{42, 0}));
  EXPECT_FALSE(Exit().killed_by_agent);
}

TEST_F(AdoptionTest, AnExitIsToldAgainUntilItWasReported) {
  Spawn("exit 4");
  ASSERT_TRUE(PumpUntilGone());

  Restart();
  supervisor_->Adopt(Time());
  ASSERT_TRUE(PumpUntilGone(2));
  supervisor_->MarkExitReported({kRun, AttemptId{1}, Rank{0}});
  Restart();
  const auto survivors = supervisor_->Adopt(Time());
  supervisor_->Poll(Time());

  EXPECT_THAT(Seen<RankGone>(), SizeIs(2));
  ASSERT_THAT(survivors, SizeIs(1));
  EXPECT_EQ(survivors[0].ranks[0].life, RankLife::kExited);
  EXPECT_EQ(survivors[0].ranks[0].exit, (ExitStatus{4, 0}));
  EXPECT_THAT(supervisor_->Poll(Time()), IsEmpty());
}

TEST_F(AdoptionTest, OutputGoesOnWithoutAReader) {
  // E13: with a pipe to the agent, the death of the agent would be the death
  // of the training (EPIPE).
  SpawnUnderAnAgentThatDies(
      "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo line $i; "
      "[ $i = 100 ] && echo 1 > ready; done; echo $i > done; exit 0",
      "ready");
  ASSERT_TRUE(PumpUntilFile("done"));

  Restart();
  supervisor_->Adopt(Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{0, 0}));
  const auto out =
      ReadFile(supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}}).stdout_path);
  ASSERT_TRUE(out.ok());
  EXPECT_THAT(*out, HasSubstr("line 2000\n"));
}

TEST_F(AdoptionTest, AStrangerWithTheShimsPidIsNotTouched) {
  Spawn("exit 0");
  ASSERT_TRUE(PumpUntilGone());
  // The record now claims the pid of a stranger that started at another time.
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    ::setsid();
    for (;;) ::pause();
  }
  const std::string record =
      supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}}).record;
  auto identity = *ReadIdentity(record);
  identity.shim_pid = stranger;
  identity.shim_start_ticks -= 1;  // The clock may not have ticked since.
  const RecordBytes bytes = EncodeRecord(RecordBlock::kIdentity, identity);
  std::string content = *ReadFile(record);
  content.replace(kRecordBlock, kRecordBlock,
                  reinterpret_cast<const char*>(&bytes), sizeof bytes);
  content.replace(2 * kRecordBlock, 2 * kRecordBlock,
                  std::string(2 * kRecordBlock, '\0'));
  ASSERT_TRUE(WriteFileAtomically(record, content).ok());

  Restart();
  events_.clear();
  supervisor_->Adopt(Time());
  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());
  ASSERT_TRUE(PumpUntilGone());

  EXPECT_TRUE(IsAlive(stranger));
  ::kill(stranger, SIGKILL);
  ::waitpid(stranger, nullptr, 0);
}

TEST_F(AdoptionTest, RanksOfAnEarlierBootAreRemoved) {
  Spawn("exit 0");
  ASSERT_TRUE(PumpUntilGone());
  SupervisorOptions options = Options();
  options.kernel_boot_id = "another boot";

  auto rebooted = Supervisor::Create(options);
  ASSERT_TRUE(rebooted.ok());

  EXPECT_THAT((*rebooted)->Adopt(Time()), IsEmpty());
  EXPECT_THAT((*rebooted)->Poll(Time()), IsEmpty());
}

TEST_F(AdoptionTest, RanksOfALostIdentityAreEndedBeforeAnythingElse) {
  Spawn("echo $$ > pid; exec sleep 1000");
  ASSERT_TRUE(PumpUntilFile("pid"));
  state_uuid_ = RandomHex64();  // The state file was lost.

  Restart();
  EXPECT_THAT(supervisor_->Adopt(Time()), IsEmpty());
  EXPECT_TRUE(supervisor_->HasLeftovers());
  Spawn("exit 0", 9);

  ASSERT_TRUE(PumpUntil([&] { return !supervisor_->HasLeftovers(); }));
  EXPECT_FALSE(IsAlive(NumberIn("pid")));
  ASSERT_THAT(Seen<RankSpawnFailed>(), SizeIs(1));
}

TEST_F(AdoptionTest, ARankWhoseFilesWereRemovedIsStillFenced) {
  Spawn("echo $$ > pid; exec sleep 1000");
  ASSERT_TRUE(PumpUntilFile("pid"));
  ASSERT_TRUE(PumpUntilSpawned());
  const std::string directory =
      supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}}).directory;
  ASSERT_EQ(::unlink((directory + "/record").c_str()), 0);

  Restart();
  const auto survivors = supervisor_->Adopt(Time());
  ASSERT_THAT(survivors, SizeIs(1));
  Spawn("exec sleep 1000", 2);
  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_THAT(Seen<RankSpawnFailed>(), SizeIs(1));
  EXPECT_FALSE(IsAlive(NumberIn("pid")));
}

// An agent may die while its shim is between fork and exec and shows no mark
// yet. The lock on the record decides which of the two was first.
TEST_F(AdoptionTest, ARankIsNotGivenUpWhileItsShimComesUp) {
  const RankKey key{kRun, AttemptId{1}, Rank{0}};
  LaunchRecord launch{};
  const SupervisorOptions options = Options();
  std::memcpy(launch.kernel_boot_id, options.kernel_boot_id.data(),
              options.kernel_boot_id.size());
  std::memcpy(launch.state_uuid, state_uuid_.data(), state_uuid_.size());
  ASSERT_TRUE(RankStore(directory_).Create(key, launch).ok());
  const std::string record = supervisor_->FilesOf(key).record;
  const int shim = ::open(record.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(shim, LOCK_EX), 0);

  Restart();
  supervisor_->Adopt(Time());
  Now later = Time();
  for (int i = 0; i < 5; ++i) {
    later.mono += std::chrono::milliseconds(60);
    EXPECT_THAT(supervisor_->Poll(later), IsEmpty());
  }
  ::close(shim);

  ASSERT_TRUE(PumpUntil([&] { return !Seen<RankSpawnFailed>().empty(); }));
  EXPECT_THAT(Seen<RankSpawnFailed>()[0].error,
              HasSubstr("the agent ended while it started this rank"));
}

TEST_F(AdoptionTest, AShimDoesNotStartARankThatWasGivenUp) {
  const RankKey key{kRun, AttemptId{1}, Rank{0}};
  ASSERT_TRUE(RankStore(directory_).Create(key, LaunchRecord{}).ok());
  const RankFiles files = supervisor_->FilesOf(key);
  ASSERT_TRUE(ClaimUnstarted(files.record, {0, 1}));

  const auto pid = SpawnShim({STEADYRUN_SHIM,
                              files.directory,
                              directory_,
                              {"/bin/sh", "-c", "echo 1 > started"},
                              {}});
  ASSERT_TRUE(pid.ok());
  int status = 0;
  ASSERT_EQ(::waitpid(*pid, &status, 0), *pid);

  EXPECT_EQ(WEXITSTATUS(status), 74);
  EXPECT_EQ(NumberIn("started"), 0);
  EXPECT_FALSE(ReadIdentity(files.record).has_value());
}

// A second agent on the same machine has its own mark and its own ranks.
TEST_F(AdoptionTest, RanksOfAnotherAgentOfThisMachineAreNotTouched) {
  Spawn("echo $$ > pid; exec sleep 1000");
  ASSERT_TRUE(PumpUntilFile("pid"));
  SupervisorOptions options = Options();
  options.state_uuid = RandomHex64();
  options.state_directory = directory_ + "/other";
  auto other = Supervisor::Create(options);
  ASSERT_TRUE(other.ok()) << other.status();

  EXPECT_THAT((*other)->Adopt(Time()), IsEmpty());
  (*other)->Kill(kRun, AttemptId{100}, kAtOnce, Time());
  (*other)->Poll(Time());

  EXPECT_TRUE(IsAlive(NumberIn("pid")));
}

}  // namespace
}  // namespace steadyrun::agent
