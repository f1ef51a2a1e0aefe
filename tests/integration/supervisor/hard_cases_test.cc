// Goal: the two cases in which a supervisor is tempted to believe too early:
// a process that no signal ends, and an agent that dies in the middle of a
// start. Method: the freezer of the kernel; an agent killed at many moments.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/supervisor/process_scan.h"
#include "agent/supervisor/rank_environment.h"
#include "tests/integration/supervisor/fixture.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Processes in it stand still in state D, and SIGKILL waits with them.
class Freezer {
 public:
  Freezer()
      : path_("/sys/fs/cgroup/freezer/steadyrun-test-" +
              std::to_string(::getpid())) {
    is_usable_ = ::mkdir(path_.c_str(), 0700) == 0 &&
                 ::access((path_ + "/freezer.state").c_str(), W_OK) == 0;
  }
  ~Freezer() {
    Write("freezer.state", "THAWED");
    ::rmdir(path_.c_str());
  }
  bool is_usable() const { return is_usable_; }
  bool Add(int pid) { return Write("cgroup.procs", std::to_string(pid)); }
  bool Freeze() { return Write("freezer.state", "FROZEN"); }
  bool Thaw() { return Write("freezer.state", "THAWED"); }

 private:
  bool Write(const std::string& file, const std::string& text) {
    const int fd = ::open((path_ + "/" + file).c_str(), O_WRONLY | O_CLOEXEC);
    const bool is_written =
        fd >= 0 && ::write(fd, text.data(), text.size()) > 0;
    if (fd >= 0) ::close(fd);
    return is_written;
  }
  std::string path_;
  bool is_usable_ = false;
};

class HardCasesTest : public SupervisorTest {};

TEST_F(HardCasesTest, WhatSigkillDoesNotEndIsReportedAndNeverBelievedGone) {
  Freezer freezer;
  if (!freezer.is_usable()) GTEST_SKIP() << "no freezer to write to here";
  SupervisorOptions options = Options();
  options.escalate_after = std::chrono::milliseconds(50);
  options.unkillable_after = std::chrono::milliseconds(200);
  supervisor_ = *Supervisor::Create(options);
  Spawn("exec sleep 1000");
  ASSERT_TRUE(PumpUntilSpawned());
  const int pid = Seen<RankSpawned>()[0].pid;
  ASSERT_TRUE(freezer.Add(pid));
  ASSERT_TRUE(freezer.Freeze());

  supervisor_->Kill(kRun, AttemptId{2}, Duration::zero(), Time());

  ASSERT_TRUE(PumpUntil([&] { return !supervisor_->Unkillable().empty(); }));
  EXPECT_EQ(supervisor_->Unkillable()[0].pid, pid);
  EXPECT_EQ(supervisor_->Unkillable()[0].state, 'D');
  Spawn("exec sleep 1000", 2);
  ASSERT_TRUE(PumpUntil([&] { return !Seen<RankSpawnFailed>().empty(); }));
  EXPECT_THAT(Seen<RankSpawnFailed>()[0].error, HasSubstr("still lives"));
  EXPECT_THAT(Seen<RankGone>(), IsEmpty());

  ASSERT_TRUE(freezer.Thaw());
  ASSERT_TRUE(PumpUntilGone());
  EXPECT_TRUE(Exit().killed_by_agent);
  EXPECT_FALSE(IsAlive(pid));
}

TEST_F(HardCasesTest, AnAgentThatDiesAtAnyMomentOfAStartLosesNoProcess) {
  constexpr int kMoments = 25;
  for (int moment = 0; moment < kMoments; ++moment) {
    const int attempt = moment + 1;
    const pid_t agent = ::fork();
    if (agent == 0) {
      auto doomed = NewSupervisor();
      doomed->Adopt(Time());
      for (int rank = 0; rank < 3; ++rank) {
        doomed->Spawn(ShellRank("exec sleep 1000", attempt, rank), "",
                      OwnEnvironment(), 3);
      }
      for (;;) ::pause();
    }
    // Not a wait for a state: the moment of the blow.
    const timespec blow{0, moment * 1'000'000};
    ::nanosleep(&blow, nullptr);
    ::kill(agent, SIGKILL);
    ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);

    supervisor_ = NewSupervisor();
    supervisor_->Adopt(Time());
    supervisor_->Kill(kRun, AttemptId{attempt + 1}, Duration::zero(), Time());
    ASSERT_TRUE(PumpUntil([&] {
      for (const RankProcess& rank : supervisor_->Ranks()) {
        if (rank.life != RankLife::kExited) return false;
      }
      return true;
    })) << "moment "
        << moment;
    EXPECT_THAT(
        FindMarkedProcesses(ProcessTable(), {state_uuid_, directory_, {}}),
        IsEmpty())
        << "moment " << moment;
    for (const RankProcess& rank : supervisor_->Ranks()) {
      supervisor_->MarkExitReported(rank.key);
    }
  }
}

// The agent is killed over and over beside a rank that works: the rank does
// not notice, and its end is told once it comes.
TEST_F(HardCasesTest, ARankOutlivesManyAgents) {
  Spawn(
      "echo 1 > ready; while [ ! -e go ]; do echo step; sleep 0.005; done; "
      "exit 12");
  ASSERT_TRUE(PumpUntilFile("ready"));
  ASSERT_TRUE(PumpUntilSpawned());
  const int pid = Seen<RankSpawned>()[0].pid;
  supervisor_ = nullptr;

  for (int i = 0; i < 20; ++i) {
    const pid_t agent = ::fork();
    if (agent == 0) {
      auto next = NewSupervisor();
      next->Adopt(Time());
      for (;;) next->Poll(Time());
    }
    const timespec blow{0, i * 2'000'000};
    ::nanosleep(&blow, nullptr);
    ::kill(agent, SIGKILL);
    ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);
    ASSERT_TRUE(IsAlive(pid)) << i;
  }
  supervisor_ = NewSupervisor();
  ASSERT_THAT(supervisor_->Adopt(Time()), SizeIs(1));
  ASSERT_EQ(::mkdir(InDirectory("go").c_str(), 0700), 0);

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{12, 0}));
}

}  // namespace
}  // namespace steadyrun::agent
