// Real processes, started and ended by a real agent.

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "tests/integration/agent/agent_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RanksTest : public AgentTest {};

bool IsGone(const Heard& heard, int rank, int attempt = 1) {
  const RankState* state = heard.FindRank(rank);
  return state != nullptr && state->attempt == AttemptId{attempt} &&
         state->life == RankLife::kExited;
}

TEST_F(RanksTest, GetTheirEnvironment) {
  StartAgent();
  StartCommand start = Shells("env > env-$RANK; exec sleep 600", 2);
  start.environment["MY_OWN"] = "value with spaces";
  start.resume_step = Step{41};
  start.ranks[1].resume_path = "/ckpt/rank-1";
  start.target_steps = 1500;
  start.node_rank = 3;
  start.nodes = 4;
  start.world_size = 8;
  Launch(start);
  ASSERT_TRUE(SendUntil(server_.Stop(2), [](const Heard& heard) {
    return IsGone(heard, 0) && IsGone(heard, 1);
  }));

  const std::string text = ReadText(scratch_ / "env-1");
  for (const char* line :
       {"RANK=1\n", "LOCAL_RANK=1\n", "WORLD_SIZE=8\n", "LOCAL_WORLD_SIZE=2\n",
        "NODE_RANK=3\n", "GROUP_RANK=3\n", "MASTER_ADDR=127.0.0.1\n",
        "MASTER_PORT=29500\n", "STEADYRUN_RUN_ID=run\n",
        "STEADYRUN_ATTEMPT=1\n", "STEADYRUN_RESUME_STEP=41\n",
        "STEADYRUN_RESUME_PATH=/ckpt/rank-1\n", "STEADYRUN_TARGET_STEPS=1500\n",
        "MY_OWN=value with spaces\n", "STEADYRUN_CHECKPOINT_DIR="}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text,
              HasSubstr("STEADYRUN_RECORDER=" + (scratch_ / "recorders/")));
}

TEST_F(RanksTest, AnExitIsReportedWithItsEvidence) {
  StartAgent();
  StartRanks("echo 'ValueError: bad shape' >&2; exit 7");

  ASSERT_TRUE(server_.WaitUntil([](const Heard& heard) {
    return !heard.All<RankExited>().empty() && IsGone(heard, 0);
  }));
  const RankExited exit = server_.heard().All<RankExited>()[0];
  EXPECT_EQ(exit.exit.code, 7);
  EXPECT_FALSE(exit.killed_by_agent);
  EXPECT_EQ(exit.error, "ValueError: bad shape");
  EXPECT_THAT(exit.last_log_lines, SizeIs(1));
}

TEST_F(RanksTest, AStopEndsThemAndTheirChildren) {
  StartAgent();
  StartRanks("sleep 600 & echo $! > child; trap '' TERM; wait; wait");
  const pid_t pid = server_.heard().FindRank(0)->pid;
  std::string child;
  ASSERT_TRUE(server_.WaitUntil([&](const Heard&) {
    child = ReadText(scratch_ / "child");
    return !child.empty();
  }));

  ASSERT_TRUE(SendUntil(server_.Stop(2), [](const Heard& heard) {
    return IsGone(heard, 0) && heard.state.runs[0].floor == AttemptId{2};
  }));

  EXPECT_FALSE(IsAlive(pid));
  EXPECT_FALSE(IsAlive(std::stoi(child)));
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return !heard.All<RankExited>().empty(); }));
  EXPECT_TRUE(server_.heard().All<RankExited>()[0].killed_by_agent);
}

TEST_F(RanksTest, AStartIsCarriedOutOnceHoweverOftenItIsSent) {
  StartAgent();
  const StartCommand start = Shells("echo x >> started; exec sleep 600", 1);
  Launch(start);
  for (int i = 0; i < 5; ++i) server_.Send(server_.Start(1, start));
  KillAgent();
  StartAgent();
  for (int i = 0; i < 5; ++i) server_.Send(server_.Start(1, start));
  ASSERT_TRUE(SendUntil(server_.Stop(2),
                        [](const Heard& heard) { return IsGone(heard, 0); }));
  server_.Send(server_.Start(1, start));

  // After another attempt has come and gone, nothing of the first came up.
  Launch(Shells("exit 0", 1), 2);
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return IsGone(heard, 0, 2); }));
  EXPECT_EQ(ReadText(scratch_ / "started"), "x\n");
}

TEST_F(RanksTest, AStartThatCannotBeIsTold) {
  StartAgent();
  StartCommand start = Shells("", 1);
  start.argv = {"/nonexistent/python"};
  ASSERT_TRUE(SendUntil(server_.Stop(1), [](const Heard& heard) {
    return !heard.state.runs.empty();
  }));
  ASSERT_TRUE(SendUntil(server_.Start(1, start), [](const Heard& heard) {
    return !heard.All<CommandResult>().empty() ||
           !heard.All<RankExited>().empty();
  }));
  ASSERT_TRUE(
      server_.WaitUntil([](const Heard& heard) { return IsGone(heard, 0); }));
}

TEST_F(RanksTest, LiveOnWhenTheAgentIsKilledAndAreTakenOver) {
  StartAgent();
  StartRanks("while [ ! -e go ]; do sleep 0.05; done; exit 5", 2);
  const pid_t pid = server_.heard().FindRank(1)->pid;
  const std::string boot = server_.boot_id();

  KillAgent();
  EXPECT_TRUE(IsAlive(pid));
  StartAgent();

  const Heard heard = server_.heard();
  const Hello& hello = heard.hellos.back();
  EXPECT_EQ(hello.state.boot_id, boot);
  ASSERT_THAT(hello.state.runs, SizeIs(1));
  EXPECT_EQ(hello.state.runs[0].started, AttemptId{1});
  ASSERT_THAT(hello.state.runs[0].ranks, SizeIs(2));
  EXPECT_EQ(hello.state.runs[0].ranks[1].pid, pid);
  EXPECT_THAT(heard.All<RankExited>(), IsEmpty());

  EXPECT_TRUE(std::ofstream(scratch_ / "go").good());
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& now) { return now.All<RankExited>().size() == 2; }));
  EXPECT_EQ(server_.heard().All<RankExited>()[0].exit.code, 5);
}

// The agent was away when the rank died: its end is not lost.
TEST_F(RanksTest, AnEndDuringTheAgentsAbsenceIsReportedLater) {
  StartAgent();
  StartRanks("while [ ! -e go ]; do sleep 0.05; done; exit 6");
  const pid_t pid = server_.heard().FindRank(0)->pid;

  KillAgent();
  EXPECT_TRUE(std::ofstream(scratch_ / "go").good());
  ASSERT_TRUE(WaitForEnd(pid));
  StartAgent();

  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return !heard.All<RankExited>().empty(); }));
  const RankExited exit = server_.heard().All<RankExited>()[0];
  EXPECT_EQ(exit.exit.code, 6);
  EXPECT_FALSE(exit.killed_by_agent);
}

TEST_F(RanksTest, AreKilledAtOnceWhenAFencedAgentComesBack) {
  StartAgent();
  StartRanks("exec sleep 600");
  const pid_t pid = server_.heard().FindRank(0)->pid;
  // Killed while it carries the stop out, or right after: either way, what is
  // below the floor does not live on.
  server_.Send(server_.Stop(2));
  KillAgent();
  StartAgent();

  ASSERT_TRUE(SendUntil(server_.Stop(2),
                        [](const Heard& heard) { return IsGone(heard, 0); }));
  EXPECT_FALSE(IsAlive(pid));
}

TEST_F(RanksTest, TheRendezvousPortIsHeldUntilItsAttempt) {
  StartAgent();
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return heard.state.rendezvous_port > 0; }));
  const int port = server_.heard().state.rendezvous_port;
  const auto can_bind = [port] {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool is_bound =
        ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return is_bound;
  };
  EXPECT_FALSE(can_bind());

  StartCommand start = Shells("exec sleep 600", 1);
  start.master_port = port;
  Launch(start);

  EXPECT_TRUE(can_bind());
  EXPECT_TRUE(server_.WaitUntil([port](const Heard& heard) {
    return heard.state.rendezvous_port > 0 &&
           heard.state.rendezvous_port != port;
  }));
}

TEST_F(RanksTest, OnlyAllowedProgramsAreLaunched) {
  StartAgent({"--launch-allow", "/opt/train/"});
  ASSERT_TRUE(SendUntil(server_.Stop(1), [](const Heard& heard) {
    return !heard.state.runs.empty();
  }));
  ASSERT_TRUE(SendUntil(
      server_.Start(1, Shells("", 1)),
      [](const Heard& heard) { return !heard.All<CommandResult>().empty(); }));
  EXPECT_EQ(server_.heard().All<CommandResult>()[0].outcome,
            CommandOutcome::kRefused);
}

}  // namespace
}  // namespace steadyrun::agent
