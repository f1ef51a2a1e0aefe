// Goal: agent/c/steadyrun.h writes what the agent reads. Method: the header in
// C code (trainer.c) against the agent's own reader.

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <chrono>

#include "agent/recorder/rank_recorder.h"
#include "agent/recorder/standstill.h"
#include "tests/unit/recorder/trainer.h"
#include "tests/unit/recorder/writer.h"

namespace steadyrun::agent {
namespace {

using ::testing::SizeIs;

// The environment is the process's, so each trainer is a child of its own; a
// failed expectation there is its exit code.
template <typename Body>
void InTrainer(const std::string& path, Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setenv("STEADYRUN_RECORDER", path.c_str(), 1);
    ::setenv("STEADYRUN_ATTEMPT", "3", 1);
    ::setenv("STEADYRUN_RESUME_STEP", "41", 1);
    ::setenv("STEADYRUN_RESUME_PATH", "/ckpt/41/rank-0", 1);
    body();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

RankRecorder OpenReader(const std::string& path) {
  auto reader = RankRecorder::Open(path, SpecOf(0));
  EXPECT_TRUE(reader.ok()) << reader.status();
  return *std::move(reader);
}

TEST(TrainerHeaderTest, StepsFromCReachTheAgent) {
  const std::string path = TempPath("c_steps");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());

  InTrainer(path, [] {
    ASSERT_EQ(trainer_attach(), 1);
    EXPECT_EQ(trainer_resume_step(), 41);
    for (int step = 42; step <= 51; ++step) {
      EXPECT_EQ(trainer_step(step, 0.5f), SRUN_ACTION_NONE);
    }
    trainer_named(52, "reward/mean", 7.0f);
    trainer_named(53, "no good name", 7.0f);
    trainer_checkpoint(52, "/ckpt/52/rank-0");
    trainer_finish("");
  });

  RankRecorder reader = OpenReader(path);
  const RankReadings readings = reader.Read();
  ASSERT_THAT(readings.steps, SizeIs(12));
  EXPECT_EQ(readings.steps[0].step, Step{42});
  EXPECT_EQ(readings.steps[0].fixed[1], 0.5f);
  EXPECT_TRUE(IsAbsent(readings.steps[0].fixed[0])) << "no step before it";
  EXPECT_FALSE(IsAbsent(readings.steps[1].fixed[0]));
  EXPECT_TRUE(IsAbsent(readings.steps[0].fixed[2]));
  ASSERT_THAT(readings.steps[10].named, SizeIs(1));
  EXPECT_EQ(readings.steps[10].named[0].first, "reward/mean");
  EXPECT_EQ(readings.steps[10].named[0].second, 7.0f);
  EXPECT_THAT(readings.steps[11].named, SizeIs(0));
  ASSERT_THAT(readings.saved, SizeIs(1));
  EXPECT_EQ(readings.saved[0].path, "/ckpt/52/rank-0");
  EXPECT_EQ(readings.saved[0].shards, 2);
  EXPECT_THAT(readings.finished, SizeIs(1));
  const RankState state = reader.Observe(SystemClock().MonoNow());
  EXPECT_EQ(state.step, Step{53});
  EXPECT_EQ(state.phase, Phase::kShutdown);
}

TEST(TrainerHeaderTest, PhasesNestAndComeBack) {
  const std::string path = TempPath("c_phases");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());

  InTrainer(path, [&] {
    ASSERT_EQ(trainer_attach(), 1);
    RankRecorder reader = OpenReader(path);
    const auto phase = [&] {
      reader.Read();
      return reader.Observe(SystemClock().MonoNow()).phase;
    };
    EXPECT_EQ(phase(), Phase::kStartup);
    trainer_step(1, 0);
    EXPECT_EQ(phase(), Phase::kStep);
    const auto step =
        trainer_enter(static_cast<std::uint32_t>(Phase::kEvaluation));
    const auto evaluation =
        trainer_enter(static_cast<std::uint32_t>(Phase::kData));
    EXPECT_EQ(phase(), Phase::kData);
    trainer_leave(evaluation);
    EXPECT_EQ(phase(), Phase::kEvaluation);
    trainer_leave(step);
    EXPECT_EQ(phase(), Phase::kStep);
  });
}

TEST(TrainerHeaderTest, CollectivesAreCountedByCommunicator) {
  const std::string path = TempPath("c_collectives");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());

  InTrainer(path, [&] {
    ASSERT_EQ(trainer_attach(), 1);
    const std::uint32_t data = trainer_communicator("dp:0,2");
    const std::uint32_t tensor = trainer_communicator("tp:0-1");
    EXPECT_EQ(trainer_communicator("dp:0,2"), data);
    EXPECT_EQ(trainer_communicator(""), UINT32_MAX);
    for (int i = 0; i < 3; ++i) trainer_collective(data);
    trainer_collective(tensor);
    trainer_collective(UINT32_MAX);

    RankRecorder reader = OpenReader(path);
    reader.Read();
    const RankState state =
        reader.Observe(SystemClock().MonoNow() + kStandstill);
    EXPECT_EQ(state.collectives,
              (std::vector<CollectivePosition>{{"dp:0,2", 3}, {"tp:0-1", 1}}));
  });
}

TEST(TrainerHeaderTest, ASaveWordIsReturnedAtItsStepAndOnlyThere) {
  const std::string path = TempPath("c_save");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());

  InTrainer(path, [&] {
    ASSERT_EQ(trainer_attach(), 1);
    auto agent = RecorderFile::Open(path, SpecOf(0));
    ASSERT_TRUE(agent.ok());
    trainer_step(1, 0);
    ASSERT_TRUE(agent->WriteCommand({1, SRUN_ACTION_SAVE, 0, 3, 0}).ok());
    EXPECT_EQ(trainer_step(2, 0), SRUN_ACTION_NONE);
    EXPECT_EQ(trainer_step(3, 0), SRUN_ACTION_SAVE);
    EXPECT_EQ(trainer_step(4, 0), SRUN_ACTION_NONE);
    ASSERT_TRUE(agent->WriteCommand({2, SRUN_ACTION_SAVE_STOP, 0, 6, 0}).ok());
    EXPECT_EQ(trainer_step(7, 0), SRUN_ACTION_NONE) << "6 is over";
    srun_writer writer;
    ASSERT_TRUE(agent->ReadWriter(&writer));
    EXPECT_EQ(writer.command_ack_seq, 2u);
  });
}

TEST(TrainerHeaderTest, DoesNothingWithoutAnAgentOrForAnotherAttempt) {
  const std::string path = TempPath("c_none");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());

  InTrainer("", [] {
    EXPECT_EQ(trainer_attach(), 0);
    EXPECT_EQ(trainer_step(1, 0), SRUN_ACTION_NONE);
    trainer_checkpoint(1, "/x");
    trainer_finish(nullptr);
  });
  InTrainer("/no/such/file", [] { EXPECT_EQ(trainer_attach(), 0); });
  InTrainer("/proc/self/stat", [] { EXPECT_EQ(trainer_attach(), 0); });
  InTrainer(path, [] {
    ::setenv("STEADYRUN_ATTEMPT", "4", 1);
    EXPECT_EQ(trainer_attach(), 0);
  });
}

// The goal is 200 ns a step; the bound leaves room for a loaded machine and
// for sanitizers. The figure is printed for tests/bench.
TEST(TrainerHeaderTest, AStepIsCheap) {
  const std::string path = TempPath("c_cost");
  ASSERT_TRUE(CreateRecorder(path, SpecOf(0)).ok());

  InTrainer(path, [] {
    ASSERT_EQ(trainer_attach(), 1);
    double best = 1e9;
    for (int round = 0; round < 20; ++round) {
      const auto begin = std::chrono::steady_clock::now();
      trainer_fast_steps(round * 10'000, 10'000);
      const std::chrono::duration<double, std::nano> spent =
          std::chrono::steady_clock::now() - begin;
      best = std::min(best, spent.count() / 10'000);
    }
    std::printf("srun_step: %.0f ns\n", best);
    EXPECT_LT(best, 1000);
  });
}

}  // namespace
}  // namespace steadyrun::agent
