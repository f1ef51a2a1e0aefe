// What ranks report, on its way to the server.

#include <signal.h>

#include <set>

#include "agent/collectors/process_stat.h"
#include "base/digest.h"
#include "base/file.h"
#include "spdlog/fmt/fmt.h"
#include "tests/integration/agent/agent_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class TelemetryTest : public AgentTest {};

// Steps of which every rank's loss has come.
std::set<std::int64_t> CompleteSteps(const Heard& heard, std::size_t ranks) {
  std::map<std::int64_t, std::set<std::uint32_t>> seen;
  for (const StepBlock& block : heard.All<StepBlock>()) {
    seen[block.step.value].insert(block.ranks.begin(), block.ranks.end());
  }
  std::set<std::int64_t> complete;
  for (const auto& [step, of] : seen) {
    if (of.size() == ranks) complete.insert(step);
  }
  return complete;
}

TEST_F(TelemetryTest, EveryStepOfEveryRankArrives) {
  StartAgent();
  Launch(Writers(4, 100, 10));

  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return heard.All<RankExited>().size() == 4; }));
  const Heard heard = server_.heard();
  EXPECT_THAT(CompleteSteps(heard, 4), SizeIs(100));
  EXPECT_THAT(heard.All<RankFinished>(), SizeIs(4));
  EXPECT_EQ(heard.All<RankFinished>()[0].parameters_sha256.substr(0, 8),
            "00ff00ff");
  EXPECT_THAT(heard.All<Gap>(), IsEmpty());
  EXPECT_EQ(heard.All<RankExited>()[0].step, Step{100});
  const StepBlock block = heard.All<StepBlock>().at(0);
  EXPECT_FLOAT_EQ(block.Column(Metric::kLoss)[0],
                  1.0f / static_cast<float>(block.step.value));
  // Facts of a rank come before its end.
  std::set<std::uint32_t> ended;
  for (const auto& [seq, report] : heard.reports) {
    if (const auto* one = std::get_if<StepBlock>(&report.body)) {
      for (const std::uint32_t rank : one->ranks) {
        EXPECT_FALSE(ended.contains(rank));
      }
    } else if (const auto* exit = std::get_if<RankExited>(&report.body)) {
      ended.insert(static_cast<std::uint32_t>(exit->rank.value));
    }
  }
}

TEST_F(TelemetryTest, NothingIsLostWhenTheAgentIsKilledAgainAndAgain) {
  StartAgent();
  Launch(Writers(2, 300, 10));
  for (int round = 1; round <= 3; ++round) {
    ASSERT_TRUE(server_.WaitUntil([round](const Heard& heard) {
      return CompleteSteps(heard, 2).size() >
             static_cast<std::size_t>(round * 40);
    }));
    KillAgent();
    StartAgent();
  }
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return heard.All<RankExited>().size() >= 2; }));

  EXPECT_THAT(CompleteSteps(server_.heard(), 2), SizeIs(300));
}

TEST_F(TelemetryTest, NothingIsLostWhileTheServerIsAway) {
  StartAgent();
  Launch(Writers(2, 200, 10));
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return CompleteSteps(heard, 2).size() > 20; }));
  const pid_t pid = server_.heard().FindRank(1)->pid;
  server_.Stop();
  ASSERT_TRUE(WaitForEnd(pid));
  ++server_.epoch;
  server_.Start();

  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return heard.All<RankExited>().size() == 2; }));
  EXPECT_THAT(CompleteSteps(server_.heard(), 2), SizeIs(200));
  EXPECT_THAT(server_.heard().All<Gap>(), IsEmpty());
}

TEST_F(TelemetryTest, WhatIsNotAcknowledgedIsSentAgain) {
  server_.acknowledges = false;
  StartAgent();
  Launch(Writers(1, 50, 5));
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return !heard.All<RankExited>().empty(); }));

  server_.Stop();
  server_.ForgetReports();
  server_.Start();

  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return !heard.All<RankExited>().empty(); }));
  EXPECT_THAT(CompleteSteps(server_.heard(), 1), SizeIs(50));
}

TEST_F(TelemetryTest, ASaveWordIsWrittenAndTheShardsComeBack) {
  StartAgent();
  StartCommand start = Writers(2, 100000, 10);
  start.checkpoint_directory = scratch_ / "checkpoint";
  Launch(start);
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return CompleteSteps(heard, 2).size() > 10; }));

  Command save = server_.Stop(1);
  save.command_id = "run/1/save/1/node-1";
  const Step step{server_.heard().FindRank(0)->step.value + 50};
  save.body = SaveCommand{step, /*then_stop=*/true, 1};
  server_.Send(save);
  ASSERT_TRUE(server_.WaitUntil([](const Heard& heard) {
    return heard.All<CheckpointShard>().size() == 2 &&
           heard.All<RankExited>().size() == 2;
  }));

  const CheckpointShard shard = server_.heard().All<CheckpointShard>()[0];
  EXPECT_EQ(shard.step, step);
  EXPECT_EQ(shard.error, "");
  EXPECT_EQ(shard.sha256,
            Sha256Hex(fmt::format("weights of step {}\n", step.value)));
  EXPECT_EQ(server_.heard().All<RankExited>()[0].step, step);

  Command verify = server_.Stop(1);
  verify.command_id = "run/1/verify/1/node-1";
  verify.body = VerifyCommand{
      {{Rank{0}, shard.path, shard.size_bytes, shard.sha256},
       {Rank{1}, shard.path, shard.size_bytes, std::string(64, '0')}}};
  server_.Send(verify);
  ASSERT_TRUE(server_.WaitUntil([](const Heard& heard) {
    const auto results = heard.All<CommandResult>();
    return !results.empty() && !results.back().checks.empty();
  }));
  const auto checks = server_.heard().All<CommandResult>().back().checks;
  ASSERT_THAT(checks, SizeIs(2));
  EXPECT_TRUE(checks[0].ok);
  EXPECT_FALSE(checks[1].ok);
}

TEST_F(TelemetryTest, AShardThatChangesIsTold) {
  StartAgent();
  StartCommand start = Writers(1, 100000, 10);
  start.checkpoint_directory = scratch_ / "checkpoint";
  Launch(start);
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return !heard.All<StepBlock>().empty(); }));
  Command save = server_.Stop(1);
  save.command_id = "run/1/save/1/node-1";
  save.body =
      SaveCommand{Step{server_.heard().FindRank(0)->step.value + 50}, false, 1};
  server_.Send(save);
  ASSERT_TRUE(server_.WaitUntil([](const Heard& heard) {
    return !heard.All<CheckpointShard>().empty();
  }));

  const std::string path = server_.heard().All<CheckpointShard>()[0].path;
  ASSERT_TRUE(WriteFileAtomically(path, "changed").ok());

  EXPECT_TRUE(server_.WaitUntil([](const Heard& heard) {
    return !heard.All<CheckpointShardBad>().empty();
  }));
}

// A full disk: the training does not notice, what matters arrives.
TEST_F(TelemetryTest, AFullDiskLosesTelemetryOnly) {
  SmallDisk disk(6 << 20);
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  StartAgent({"--spool", disk.path() + "/spool.db"});
  Launch(Writers(8, 3000, 1));
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return !heard.All<StepBlock>().empty(); }));
  const pid_t pid = server_.heard().FindRank(7)->pid;
  server_.Stop();
  disk.Fill();
  ASSERT_TRUE(WaitForEnd(pid));
  server_.Start();

  ASSERT_TRUE(server_.WaitUntil([](const Heard& heard) {
    return heard.All<RankExited>().size() == 8 &&
           heard.All<RankFinished>().size() == 8;
  }));
  for (const RankExited& exit : server_.heard().All<RankExited>()) {
    EXPECT_EQ(exit.exit.code, 0);
  }
}

// The budget of performance: 16 ranks at ten steps a second.
TEST_F(TelemetryTest, StaysSmallWithSixteenRanks) {
  server_.heartbeat_interval = milliseconds(500);  // The default.
  StartAgent();
  Launch(Writers(16, 100000, 100));
  ASSERT_TRUE(server_.WaitUntil([](const Heard& heard) {
    return CompleteSteps(heard, 16).size() >= 20;
  }));
  const ProcessTable processes;
  const double cpu_before = processes.Stat(agent())->cpu_seconds;
  const std::size_t before = CompleteSteps(server_.heard(), 16).size();
  ASSERT_TRUE(server_.WaitUntil([before](const Heard& heard) {
    return CompleteSteps(heard, 16).size() >= before + 100;
  }));
  const double cpu = processes.Stat(agent())->cpu_seconds - cpu_before;
  long rss_kb = 0;
  const std::string status = ReadText(fmt::format("/proc/{}/status", agent()));
  if (const auto at = status.find("VmRSS:"); at != std::string::npos) {
    rss_kb = std::stol(status.substr(at + 6));
  }
  RecordProperty("rss_kb", static_cast<int>(rss_kb));
  RecordProperty("cpu_percent", static_cast<int>(cpu * 10));
  ::fprintf(stderr,
            "agent with 16 ranks: %ld KB resident, %.2f s CPU in 10 s\n",
            rss_kb, cpu);
  EXPECT_GT(rss_kb, 1000);
#ifndef __SANITIZE_ADDRESS__  // Its shadow memory is not the agent's.
  EXPECT_LE(rss_kb, 20 * 1024);
#endif
}

}  // namespace
}  // namespace steadyrun::agent
