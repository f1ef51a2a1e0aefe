// Goal: the supervisor starts, watches and ends real processes, and says
// "gone" only when nothing of a rank is left. Method: small shell ranks that
// misbehave in every way that was thought of.

#include "agent/supervisor/supervisor.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/collectors/process_stat.h"
#include "agent/supervisor/rank_environment.h"
#include "agent/supervisor/rank_record.h"
#include "base/file.h"
#include "tests/integration/supervisor/fixture.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr Duration kAtOnce = Duration::zero();

TEST_F(SupervisorTest, TellsOfTheStartAndOfTheExitCode) {
  Spawn("exit 3");

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_THAT(Seen<RankSpawned>(), SizeIs(1));
  EXPECT_GT(Seen<RankSpawned>()[0].pid, 1);
  EXPECT_EQ(Exit().exit, (ExitStatus{3, 0}));
  EXPECT_FALSE(Exit().killed_by_agent);
  EXPECT_EQ(Exit().signature, "exit code 3");
}

TEST_F(SupervisorTest, TellsOfASignalThatNobodyHereSent) {
  Spawn("kill -SEGV $$");

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{0, SIGSEGV}));
  EXPECT_FALSE(Exit().killed_by_agent);
  EXPECT_FALSE(Exit().is_secondary);
}

TEST_F(SupervisorTest, NoticesADeathWithinTheGoal) {
  Spawn("exec sleep 1000");
  ASSERT_TRUE(PumpUntilSpawned());

  const MonoTime killed = Time().mono;
  ::kill(Seen<RankSpawned>()[0].pid, SIGKILL);

  ASSERT_TRUE(PumpUntilGone());
  RecordProperty("milliseconds",
                 std::to_string(ToSeconds(Time().mono - killed) * 1e3));
  // The goal is 10 ms; the bound is for a loaded machine.
  EXPECT_LT(ToSeconds(Time().mono - killed), 0.5);
}

TEST_F(SupervisorTest, GivesTheRankItsEnvironmentAndNothingOfTheAgent) {
  SpawnRank spawn = ShellRank("env; ls /proc/$$/fd; pwd; cat /proc/$$/stat");
  spawn.start.working_directory = directory_;
  spawn.start.environment["OWN"] = "value";
  spawn.start.master_address = "10.0.0.1";
  spawn.start.master_port = 1234;
  auto base = OwnEnvironment();
  base["STEADYRUN_TOKEN"] = "agent-secret";
  supervisor_->Spawn(spawn, "", base, 2);

  ASSERT_TRUE(PumpUntilGone());
  const auto files = supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}});
  const std::string out = *ReadFile(files.stdout_path);
  EXPECT_THAT(out, HasSubstr("OWN=value\n"));
  EXPECT_THAT(out, HasSubstr("RANK=0\n"));
  EXPECT_THAT(out, HasSubstr("WORLD_SIZE=2\n"));
  EXPECT_THAT(out, HasSubstr("LOCAL_WORLD_SIZE=2\n"));
  EXPECT_THAT(out, HasSubstr("MASTER_ADDR=10.0.0.1\n"));
  EXPECT_THAT(out, HasSubstr("STEADYRUN_ATTEMPT=1\n"));
  EXPECT_THAT(out, HasSubstr(directory_));
  EXPECT_THAT(out, Not(HasSubstr("agent-secret")));
  EXPECT_THAT(out, HasSubstr("\n0\n1\n2\n"));
  EXPECT_THAT(out, Not(HasSubstr("\n3\n")));
}

TEST_F(SupervisorTest, SaysWhyAProgramCannotBeStarted) {
  SpawnRank spawn = ShellRank("");
  spawn.start.argv = {"/no/such/program"};
  supervisor_->Spawn(spawn, "", OwnEnvironment(), 1);

  ASSERT_TRUE(PumpUntil([&] { return !Seen<RankSpawnFailed>().empty(); }));
  EXPECT_THAT(Seen<RankSpawnFailed>()[0].error,
              HasSubstr("No such file or directory"));
  EXPECT_THAT(Seen<RankSpawned>(), IsEmpty());
}

TEST_F(SupervisorTest, SaysThatTheWorkingDirectoryIsMissing) {
  SpawnRank spawn = ShellRank("true");
  spawn.start.working_directory = "/no/such/directory";
  supervisor_->Spawn(spawn, "", OwnEnvironment(), 1);

  ASSERT_TRUE(PumpUntil([&] { return !Seen<RankSpawnFailed>().empty(); }));
  EXPECT_THAT(Seen<RankSpawnFailed>()[0].error, HasSubstr("working directory"));
}

TEST_F(SupervisorTest, RefusesToStartARankTwice) {
  Spawn("exit 0");
  ASSERT_TRUE(PumpUntilGone());

  Spawn("exit 0");

  ASSERT_TRUE(PumpUntil([&] { return !Seen<RankSpawnFailed>().empty(); }));
  EXPECT_THAT(Seen<RankSpawnFailed>()[0].error, HasSubstr("started here"));
}

TEST_F(SupervisorTest, RefusesAnAttemptBesideALivingOne) {
  Spawn("exec sleep 1000", 1);
  ASSERT_TRUE(PumpUntilSpawned());

  Spawn("exec sleep 1000", 2);

  ASSERT_TRUE(PumpUntil([&] { return !Seen<RankSpawnFailed>().empty(); }));
  EXPECT_THAT(Seen<RankSpawnFailed>()[0].error, HasSubstr("still lives"));
  EXPECT_THAT(Seen<RankSpawned>(), SizeIs(1));
}

TEST_F(SupervisorTest, KillEndsOnlyAttemptsBelowTheFloor) {
  Spawn("exec sleep 1000", 3);
  ASSERT_TRUE(PumpUntilSpawned());

  supervisor_->Kill(kRun, AttemptId{3}, kAtOnce, Time());
  // A rank of another attempt number lives on; only a scan would end it.
  supervisor_->Poll(Time());
  EXPECT_TRUE(IsAlive(Seen<RankSpawned>()[0].pid));

  supervisor_->Kill(kRun, AttemptId{4}, kAtOnce, Time());
  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{0, SIGKILL}));
  EXPECT_TRUE(Exit().killed_by_agent);
}

TEST_F(SupervisorTest, AChildThatIgnoresSigtermDiesAfterTheGrace) {
  Spawn("trap '' TERM; echo 1 > ready; while :; do sleep 1; done");
  ASSERT_TRUE(PumpUntilFile("ready"));

  const MonoTime ordered = Time().mono;
  supervisor_->Kill(kRun, AttemptId{2}, std::chrono::milliseconds(300), Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{0, SIGKILL}));
  EXPECT_TRUE(Exit().killed_by_agent);
  EXPECT_GE(ToSeconds(Time().mono - ordered), 0.3);
}

TEST_F(SupervisorTest, TheGraceLetsARankFinish) {
  Spawn("trap 'exit 7' TERM; echo 1 > ready; while :; do sleep 0.05; done");
  ASSERT_TRUE(PumpUntilFile("ready"));

  supervisor_->Kill(kRun, AttemptId{2}, std::chrono::seconds(30), Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{7, 0}));
  EXPECT_TRUE(Exit().killed_by_agent);
}

TEST_F(SupervisorTest, AShorterGraceReplacesALongerOne) {
  Spawn("trap '' TERM; echo 1 > ready; while :; do sleep 1; done");
  ASSERT_TRUE(PumpUntilFile("ready"));

  supervisor_->Kill(kRun, AttemptId{2}, std::chrono::hours(1), Time());
  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone());
}

TEST_F(SupervisorTest, NothingOutlivesARankThatEndsByItself) {
  Spawn(
      "setsid sh -c 'echo $$ > daemon; exec sleep 1000' & "
      "sleep 1000 & "
      "while [ ! -s daemon ]; do sleep 0.01; done; exit 5");

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{5, 0}));
  ASSERT_NE(NumberIn("daemon"), 0);
  EXPECT_FALSE(IsAlive(NumberIn("daemon")));
}

TEST_F(SupervisorTest, ADaemonThatForkedTwiceDiesWithItsRank) {
  // The classic daemon: a new session, its parent gone, signals ignored.
  Spawn(
      "(setsid sh -c '(trap \"\" TERM HUP; echo $$ > inner; sh -c \""
      "echo \\$\\$ > daemon; exec sleep 1000\") & exit 0' &); "
      "exec sleep 1000");
  ASSERT_TRUE(PumpUntilFile("daemon"));

  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_FALSE(IsAlive(NumberIn("daemon")));
}

TEST_F(SupervisorTest, AStoppedRankIsKilled) {
  Spawn("exec sleep 1000");
  ASSERT_TRUE(PumpUntilSpawned());
  ::kill(Seen<RankSpawned>()[0].pid, SIGSTOP);

  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{0, SIGKILL}));
}

TEST_F(SupervisorTest, AStoppedShimAndRankAreKilled) {
  Spawn("sleep 1000 & echo $! > child; wait");
  ASSERT_TRUE(PumpUntilFile("child"));
  ASSERT_TRUE(PumpUntilSpawned());
  for (const int pid :
       {ShimPid(), Seen<RankSpawned>()[0].pid, NumberIn("child")}) {
    ASSERT_GT(pid, 1);
    ::kill(pid, SIGSTOP);
  }

  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_TRUE(Exit().killed_by_agent);
  EXPECT_FALSE(IsAlive(NumberIn("child")));
}

TEST_F(SupervisorTest, AKilledShimTakesItsRankAlongAndIsNoticed) {
  Spawn("exec sleep 1000");
  ASSERT_TRUE(PumpUntilSpawned());

  ::kill(ShimPid(), SIGKILL);

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_FALSE(IsAlive(Seen<RankSpawned>()[0].pid));
  EXPECT_THAT(Exit().error, HasSubstr("was killed"));
  EXPECT_FALSE(Exit().killed_by_agent);
}

TEST_F(SupervisorTest, WhatAKilledShimLeavesBehindIsFoundByItsMarks) {
  // One hides its environment but stays in the session; one leaves the session
  // but keeps the environment.
  Spawn(
      "env -i /bin/sh -c 'echo $$ > hidden; exec sleep 1000' & "
      "setsid sh -c 'echo $$ > escaped; exec sleep 1000' & wait");
  ASSERT_TRUE(PumpUntilFile("hidden"));
  ASSERT_TRUE(PumpUntilFile("escaped"));
  ASSERT_TRUE(PumpUntilSpawned());

  ::kill(ShimPid(), SIGKILL);

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_FALSE(IsAlive(NumberIn("hidden")));
  EXPECT_FALSE(IsAlive(NumberIn("escaped")));
}

TEST_F(SupervisorTest, AnOrderThatComesBeforeTheRankStartsIsNotLost) {
  Spawn("exec sleep 1000");

  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_TRUE(Exit().killed_by_agent);
}

TEST_F(SupervisorTest, ACrashBeforeTheOrderIsNoKillOfOurs) {
  Spawn("exit 9");
  ASSERT_TRUE(PumpUntilSpawned());
  ASSERT_TRUE(PumpUntil([&] {
    return ReadEnd(supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}}).record)
        .has_value();
  }));

  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().exit, (ExitStatus{9, 0}));
  EXPECT_FALSE(Exit().killed_by_agent);
}

TEST_F(SupervisorTest, EndsManyRanksAtOnce) {
  constexpr int kRanks = 16;
  for (int rank = 0; rank < kRanks; ++rank) Spawn("exec sleep 1000", 1, rank);
  ASSERT_TRUE(PumpUntilSpawned(kRanks));

  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());

  ASSERT_TRUE(PumpUntilGone(kRanks));
  for (const RankSpawned& rank : Seen<RankSpawned>()) {
    EXPECT_FALSE(IsAlive(rank.pid));
  }
}

TEST_F(SupervisorTest, TheShimIsSmall) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's own memory counts too";
#endif
  Spawn("exec sleep 1000");
  ASSERT_TRUE(PumpUntilSpawned());

  const std::string status =
      *ReadFile("/proc/" + std::to_string(ShimPid()) + "/status");
  const std::size_t at = status.find("VmHWM:");
  ASSERT_NE(at, std::string::npos);
  EXPECT_LT(std::atoi(status.c_str() + at + 6), 2048) << status;
}

TEST_F(SupervisorTest, EvidenceComesFromTheRanksOutput) {
  Spawn(
      "echo 'Traceback (most recent call last):' >&2;"
      "echo '  File \"/home/u/train.py\", line 12, in main' >&2;"
      "echo '    step()' >&2;"
      "echo 'ValueError: bad batch' >&2; exit 1");

  ASSERT_TRUE(PumpUntilGone());
  EXPECT_EQ(Exit().error, "ValueError: bad batch");
  EXPECT_EQ(Exit().signature, "ValueError in train.py main");
  EXPECT_FALSE(Exit().is_secondary);
  EXPECT_THAT(Exit().last_log_lines, SizeIs(4));
}

TEST_F(SupervisorTest, FilesOfARunGoWhenItHasEnded) {
  Spawn("exec sleep 1000");
  ASSERT_TRUE(PumpUntilSpawned());
  EXPECT_EQ(supervisor_->RemoveRun(kRun).code(),
            absl::StatusCode::kFailedPrecondition);

  supervisor_->Kill(kRun, AttemptId{2}, kAtOnce, Time());
  ASSERT_TRUE(PumpUntilGone());

  EXPECT_TRUE(supervisor_->RemoveRun(kRun).ok());
  EXPECT_THAT(supervisor_->Ranks(), IsEmpty());
  EXPECT_FALSE(
      ReadFile(supervisor_->FilesOf({kRun, AttemptId{1}, Rank{0}}).record)
          .ok());
}

TEST_F(SupervisorTest, OldAttemptsAreRemovedAndTheNewestKept) {
  for (int attempt = 1; attempt <= 5; ++attempt) {
    Spawn("exit 1", attempt);
    ASSERT_TRUE(PumpUntilGone(attempt));
    supervisor_->MarkExitReported({kRun, AttemptId{attempt}, Rank{0}});
  }

  Spawn("exit 1", 6);
  ASSERT_TRUE(PumpUntilGone(6));
  const auto has_record = [&](int attempt) {
    return ReadFile(
               supervisor_->FilesOf({kRun, AttemptId{attempt}, Rank{0}}).record)
        .ok();
  };
  EXPECT_FALSE(has_record(1));
  EXPECT_FALSE(has_record(3));
  EXPECT_TRUE(has_record(4));
  EXPECT_TRUE(has_record(6));
}

}  // namespace
}  // namespace steadyrun::agent
