#include "server/recovery/training_rollback.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/recorder/environment.h"
#include "server/recovery/command_derivation.h"
#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A malignant spike that began at `onset`.
FailureFound Spike(std::int64_t onset) {
  FailureFound found;
  found.failure = {IncidentKind::kLossSpike, "malignant", Step{onset}};
  found.incident = 1;
  found.onset = TestNow().wall;
  found.reason = "the loss did not come back";
  found.plan =
      RollbackPlan{Step{onset - 100}, Step{onset - 10}, Step{onset + 200}, 1};
  return found;
}

TestMachine Running(std::int64_t step) {
  TestMachine machine;
  machine.state = TestState(RunPhase::kRunning);
  machine.state.attempt_step = machine.state.max_step = Step{step};
  machine.policy.For(IncidentKind::kLossSpike).mode = Mode::kAct;
  for (const std::int64_t saved : {300, 400, 450, 500, 600}) {
    AddTo(&machine.checkpoints,
          TestCheckpoint(saved, 1, CheckpointState::kTrusted));
  }
  machine.cluster.Node("a").Floor(1).Started(1).Rank(0, 1, RankLife::kAlive);
  machine.cluster.Node("b").Floor(1).Started(1).Rank(2, 1, RankLife::kAlive);
  return machine;
}

RestartRecord RolledBack(std::int64_t step) {
  RestartRecord record;
  record.attempt = AttemptId{1};
  record.kind = IncidentKind::kDivergence;
  record.step = Step{step};
  record.rolled_back = true;
  record.made_progress = true;
  return record;
}

TEST(TrainingRollbackTest, TheFirstTimeItsDataIsLeftOut) {
  TestMachine machine = Running(620);

  const Advanced advanced = machine.Do(Spike(550));

  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.rollback_below, Step{450});
  EXPECT_THAT(machine.state.skips,
              ElementsAre(StepRange{Step{540}, Step{750}}));
  EXPECT_EQ(machine.state.learning_rate_factor, 1);
  ASSERT_NE(FindIntent<DistrustFrom>(advanced), nullptr);
  EXPECT_EQ(FindIntent<DistrustFrom>(advanced)->step, Step{450});
  EXPECT_TRUE(machine.state.restarts.at(0).rolled_back);

  for (const char* node : {"a", "b"}) {
    machine.cluster.Node(node).Floor(2).Run().ranks.clear();
  }
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.resume_step, Step{400});
}

TEST(TrainingRollbackTest, ALowerLearningRateStays) {
  TestMachine machine = Running(620);
  FailureFound found = Spike(550);
  found.plan = RollbackPlan{Step{450}, kNoStep, kNoStep, 0.9};

  machine.Do(found);

  EXPECT_TRUE(machine.state.skips.empty());
  EXPECT_DOUBLE_EQ(machine.state.learning_rate_factor, 0.9);
  EXPECT_EQ(machine.state.rollback_below, Step{450});
  EXPECT_EQ(machine.state.after_stop, AfterStop::kRestart);
}

TEST(TrainingRollbackTest, TheDetectorsLastWordHaltsAndPages) {
  TestMachine machine = Running(620);
  FailureFound found = Spike(550);
  found.must_halt = true;

  const Advanced advanced = machine.Do(found);

  EXPECT_EQ(machine.state.after_stop, AfterStop::kHalt);
  EXPECT_NE(FindIntent<PageOperator>(advanced), nullptr);
  ASSERT_NE(FindIntent<DistrustFrom>(advanced), nullptr);
  EXPECT_EQ(FindIntent<DistrustFrom>(advanced)->step, Step{450});
}

// What a service that starts anew tells its detectors.
TEST(TrainingRollbackTest, TheHistoryIsThatOfTheRollbacks) {
  RunState state = TestState(RunPhase::kRunning);
  EXPECT_EQ(HistoryOf(state, RollbackOptions()).chain, 0);

  state.restarts = {RolledBack(480), RolledBack(520)};
  state.restarts[1].attempt = AttemptId{2};
  RestartRecord crash;
  crash.attempt = AttemptId{3};
  crash.step = Step{530};
  state.restarts.push_back(crash);
  const CurveHistory history = HistoryOf(state, RollbackOptions());
  EXPECT_EQ(history.chain, 2);
  EXPECT_EQ(history.last_onset, Step{520});

  // An operator has looked since.
  state.guard_from = AttemptId{3};
  EXPECT_EQ(HistoryOf(state, RollbackOptions()).chain, 0);
}

TEST(TrainingRollbackTest, ALadderOfPagesOnlyPages) {
  TestMachine machine = Running(620);
  machine.policy.For(IncidentKind::kLossSpike).ladder = {Remedy::kPage};

  const Advanced advanced = machine.Do(Spike(550));

  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
  EXPECT_TRUE(machine.state.skips.empty());
  ASSERT_NE(FindIntent<Decided>(advanced), nullptr);
  EXPECT_EQ(FindIntent<Decided>(advanced)->action, "page");
}

TEST(TrainingRollbackTest, SkipsAreNumbersOfDataNotOfSteps) {
  std::vector<StepRange> skips = {{Step{10}, Step{12}}, {Step{18}, Step{19}}};

  EXPECT_EQ(DataOfStep(skips, Step{9}), 9);
  EXPECT_EQ(DataOfStep(skips, Step{10}), 13);
  EXPECT_EQ(DataOfStep(skips, Step{14}), 17);
  EXPECT_EQ(DataOfStep(skips, Step{15}), 20);

  RunState state = TestState(RunPhase::kRunning);
  state.skips = {{Step{10}, Step{12}}};
  ApplyPlan({Step{5}, Step{20}, Step{30}, 1}, &state);
  EXPECT_THAT(state.skips, ElementsAre(StepRange{Step{10}, Step{12}},
                                       StepRange{Step{23}, Step{33}}));
}

TEST(TrainingRollbackTest, TheDescriptionSaysExactlyWhatWouldHappen) {
  TestMachine machine = Running(620);

  EXPECT_EQ(
      DescribePlan(*Spike(550).plan, machine.state, machine.checkpoints),
      "a rollback to the trusted checkpoint of step 400 (220 steps lost), "
      "leaving out the data of steps 540 to 750");
  EXPECT_EQ(DescribePlan({Step{100}, kNoStep, kNoStep, 0.9}, machine.state,
                         machine.checkpoints),
            "a rollback to the beginning (620 steps lost), with the learning "
            "rate times 0.9");
}

TEST(TrainingRollbackTest, TheRanksAreToldByTheirEnvironment) {
  EXPECT_STREQ(kSkipVariable, SRUN_ENV_SKIP);
  EXPECT_STREQ(kLearningRateVariable, SRUN_ENV_LEARNING_RATE_FACTOR);
}

}  // namespace
}  // namespace steadyrun
