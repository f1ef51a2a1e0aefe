#include "server/recovery/recovery_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;

FailureFound Crash(std::int64_t step, std::string signature = "E") {
  FailureFound found;
  found.failure = {IncidentKind::kCrash, std::move(signature), Step{step}};
  found.incident = 1;
  found.onset = TestNow().wall;
  found.reason = "rank 3 ended";
  return found;
}

FailureFound Nan(std::int64_t step) {
  FailureFound found = Crash(step, "nan");
  found.failure.kind = IncidentKind::kNan;
  return found;
}

OperatorOrdered Ordered(Order order, Step step = kNoStep) {
  OperatorOrdered ordered;
  ordered.order = order;
  ordered.actor = "ada";
  ordered.reason = "test";
  ordered.step = step;
  return ordered;
}

// A machine with attempt 1 of a two-node run in some phase.
TestMachine In(RunPhase phase) {
  TestMachine machine;
  machine.state = TestState(phase);
  machine.state.attempt_step = machine.state.max_step = Step{34};
  machine.cluster.Node("a").Floor(1).Started(1).Rank(0, 1, RankLife::kAlive);
  machine.cluster.Node("b").Floor(1).Started(1).Rank(2, 1, RankLife::kAlive);
  return machine;
}

void Confirm(TestMachine* machine, const std::string& node,
             std::int64_t floor) {
  machine->cluster.Node(node).Floor(floor).Run().ranks.clear();
}

TEST(RecoveryMachineTest, AFailureStopsTheAttemptAtOnce) {
  TestMachine machine = In(RunPhase::kRunning);

  const Advanced advanced = machine.Do(Crash(34));

  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.after_stop, AfterStop::kRestart);
  EXPECT_EQ(machine.state.attempt, AttemptId{1});
  EXPECT_EQ(machine.state.restarts.size(), 1U);
  EXPECT_TRUE(advanced.has_changed);
  ASSERT_NE(FindIntent<Decided>(advanced), nullptr);
  EXPECT_EQ(FindIntent<Decided>(advanced)->action, "restart");
}

TEST(RecoveryMachineTest, NothingStartsBeforeTheLastProof) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.Do(Crash(34));
  Confirm(&machine, "a", 2);

  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.placement[0].proof, StopProof::kConfirmed);

  Confirm(&machine, "b", 2);
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.attempt, AttemptId{2});
  EXPECT_EQ(machine.state.phase, RunPhase::kStarting);
  EXPECT_EQ(machine.state.master_address, "addr-a");
  EXPECT_EQ(machine.state.master_port, 29500);
}

TEST(RecoveryMachineTest, ACheckpointIsReadByAllNodesBeforeTheStart) {
  TestMachine machine = In(RunPhase::kRunning);
  AddTo(&machine.checkpoints,
        TestCheckpoint(30, 1, CheckpointState::kVerified));
  machine.Do(Crash(34));
  Confirm(&machine, "a", 2);
  Confirm(&machine, "b", 2);

  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kVerifying);
  EXPECT_EQ(machine.state.resume_step, Step{30});

  machine.verified = {"a"};
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kVerifying);

  machine.verified = {"a", "b"};
  const Advanced advanced = machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kStarting);
  ASSERT_NE(FindIntent<StepsLost>(advanced), nullptr);
  EXPECT_EQ(FindIntent<StepsLost>(advanced)->steps, 4);
}

TEST(RecoveryMachineTest, AFailedCheckDistrustsAndTheNextOlderIsTaken) {
  TestMachine machine = In(RunPhase::kVerifying);
  Confirm(&machine, "a", 1);
  Confirm(&machine, "b", 1);
  machine.state.resume_step = Step{30};
  machine.state.resume_attempt = AttemptId{1};

  const Advanced advanced =
      machine.Do(ShardCheckFailed{"b", Rank{2}, "sha256 differs"});

  EXPECT_EQ(machine.state.phase, RunPhase::kPlacing);
  ASSERT_NE(FindIntent<DistrustCheckpoint>(advanced), nullptr);
  EXPECT_EQ(FindIntent<DistrustCheckpoint>(advanced)->step, Step{30});
}

TEST(RecoveryMachineTest, ANodeThatLeavesBeforeTheStartIsReplaced) {
  TestMachine machine = In(RunPhase::kVerifying);
  machine.state.attempt = AttemptId{2};
  Confirm(&machine, "a", 2);
  machine.cluster.Node("b").Silent(seconds(3));
  machine.cluster.Node("c");

  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kPlacing);
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kVerifying);
  EXPECT_EQ(machine.state.placement[1].node, "c");
  EXPECT_EQ(machine.state.attempt, AttemptId{2});
}

TEST(RecoveryMachineTest, ANumberThatANodeHasObeyedIsNeverUsedAgain) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.Do(Crash(34));
  Confirm(&machine, "a", 2);
  // Its floor tells of a service that knew more than this one's store.
  Confirm(&machine, "b", 9);

  machine.Do(Reconsider{});

  EXPECT_EQ(machine.state.attempt, AttemptId{9});
}

TEST(RecoveryMachineTest, AStartedNumberIsUsedUpEvenWithoutItsFloor) {
  TestMachine machine = In(RunPhase::kPlacing);
  machine.state.attempt = AttemptId{2};
  Confirm(&machine, "a", 2);
  Confirm(&machine, "b", 2);
  machine.cluster.Node("a").Started(2);

  machine.Do(Reconsider{});

  EXPECT_EQ(machine.state.attempt, AttemptId{3});
}

TEST(RecoveryMachineTest, BackoffHoldsThePlacingNotTheStop) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.state.restarts.push_back({});
  machine.state.restarts.back().attempt = AttemptId{0};
  machine.state.restarts.back().at_mono = TestNow().mono;
  machine.state.max_step_at_start = machine.state.max_step;
  machine.Do(Crash(20));
  Confirm(&machine, "a", 2);
  Confirm(&machine, "b", 2);

  machine.Do(Reconsider{}, TestNow(milliseconds(1900)));
  EXPECT_EQ(machine.state.phase, RunPhase::kPlacing);
  machine.Do(Reconsider{}, TestNow(seconds(2)));
  EXPECT_EQ(machine.state.phase, RunPhase::kStarting);
}

TEST(RecoveryMachineTest, TheFirstStepOfAllRanksMakesItRun) {
  TestMachine machine = In(RunPhase::kStarting);
  machine.state.attempt_step = kNoStep;
  machine.state.max_step = machine.state.max_step_at_start = Step{34};
  machine.state.rollback_below = Step{40};
  machine.state.avoid_node = "c";

  machine.Do(StepCompleted{Step{31}});

  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
  EXPECT_EQ(machine.state.attempt_step, Step{31});
  EXPECT_EQ(machine.state.max_step, Step{34});
  EXPECT_FALSE(machine.state.rollback_below.has_value());
  EXPECT_EQ(machine.state.avoid_node, "");
}

TEST(RecoveryMachineTest, AFailureBeforeTheFirstStepIsAFailure) {
  TestMachine machine = In(RunPhase::kStarting);
  machine.Do(Crash(-1));
  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
}

TEST(RecoveryMachineTest, FailuresChangeNothingWhereNothingLives) {
  for (const RunPhase phase :
       {RunPhase::kPlacing, RunPhase::kVerifying, RunPhase::kPaused,
        RunPhase::kHalted, RunPhase::kCompleted, RunPhase::kStopped}) {
    TestMachine machine = In(phase);
    const RunState before = machine.state;
    EXPECT_FALSE(machine.Do(Crash(34)).has_changed);
    EXPECT_EQ(machine.state, before) << RunPhaseName(phase);
  }
}

// --- NaN.

TEST(RecoveryMachineTest, NanRollsBackBelowItsStepAndDistrustsWhatFollows) {
  TestMachine machine = In(RunPhase::kRunning);
  AddTo(&machine.checkpoints,
        TestCheckpoint(20, 1, CheckpointState::kVerified));
  AddTo(&machine.checkpoints,
        TestCheckpoint(33, 1, CheckpointState::kVerified));

  const Advanced advanced = machine.Do(Nan(32));

  ASSERT_NE(FindIntent<DistrustFrom>(advanced), nullptr);
  EXPECT_EQ(FindIntent<DistrustFrom>(advanced)->step, Step{32});
  EXPECT_EQ(machine.state.rollback_below, Step{32});
  Confirm(&machine, "a", 2);
  Confirm(&machine, "b", 2);
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.resume_step, Step{20});
}

TEST(RecoveryMachineTest, NanAgainDistrustsTheCheckpointThatWasUsed) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.state.attempt = AttemptId{2};
  machine.state.resume_step = Step{30};
  machine.state.resume_attempt = AttemptId{1};
  RestartRecord before;
  before.attempt = AttemptId{1};
  before.kind = IncidentKind::kNan;
  before.signature = "nan";
  before.step = Step{32};
  machine.state.restarts.push_back(before);

  const Advanced advanced = machine.Do(Nan(32));

  ASSERT_NE(FindIntent<DistrustCheckpoint>(advanced), nullptr);
  EXPECT_EQ(FindIntent<DistrustCheckpoint>(advanced)->step, Step{30});
}

TEST(RecoveryMachineTest, AHaltOverNanDistrustsToo) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.policy.For(IncidentKind::kNan).ladder = {Remedy::kHalt};

  const Advanced advanced = machine.Do(Nan(32));

  EXPECT_EQ(machine.state.after_stop, AfterStop::kHalt);
  EXPECT_NE(FindIntent<DistrustFrom>(advanced), nullptr);
  EXPECT_NE(FindIntent<PageOperator>(advanced), nullptr);
}

TEST(RecoveryMachineTest, BetterEvidenceWhileStoppingChangesTheRemedy) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.Do(Crash(34));
  ASSERT_EQ(machine.state.restarts.size(), 1U);

  const Advanced advanced = machine.Do(Nan(33));

  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  ASSERT_EQ(machine.state.restarts.size(), 1U);
  EXPECT_EQ(machine.state.restarts[0].kind, IncidentKind::kNan);
  EXPECT_EQ(machine.state.rollback_below, Step{33});
  EXPECT_NE(FindIntent<DistrustFrom>(advanced), nullptr);
}

// --- Halt, and people.

TEST(RecoveryMachineTest, AHaltStopsAllThenWaitsForAPerson) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.policy.restart.restarts_per_hour = 0;

  const Advanced advanced = machine.Do(Crash(34));

  EXPECT_EQ(machine.state.after_stop, AfterStop::kHalt);
  EXPECT_NE(FindIntent<PageOperator>(advanced), nullptr);
  Confirm(&machine, "a", 2);
  Confirm(&machine, "b", 2);
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kHalted);
  EXPECT_THAT(machine.state.phase_reason, HasSubstr("rank 3 ended"));

  machine.Do(Reconsider{}, TestNow(minutes(600)));
  EXPECT_EQ(machine.state.phase, RunPhase::kHalted);
}

TEST(RecoveryMachineTest, ResumeAsksForProofFirst) {
  TestMachine machine = In(RunPhase::kHalted);

  EXPECT_TRUE(machine.Do(Ordered(Order::kResume)).status.ok());

  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.guard_from, AttemptId{2});
}

TEST(RecoveryMachineTest, OnlyAHeldRunCanBeResumed) {
  for (const RunPhase phase : {RunPhase::kRunning, RunPhase::kStarting,
                               RunPhase::kPlacing, RunPhase::kCompleted}) {
    TestMachine machine = In(phase);
    const RunState before = machine.state;
    const Advanced advanced = machine.Do(Ordered(Order::kResume));
    EXPECT_EQ(advanced.status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(machine.state, before);
  }
}

TEST(RecoveryMachineTest, APauseSavesFirstThenStops) {
  TestMachine machine = In(RunPhase::kRunning);
  OperatorOrdered pause = Ordered(Order::kPause);
  pause.newest_step = Step{35};
  pause.step_seconds = 0.5;

  machine.Do(pause);
  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
  EXPECT_EQ(machine.state.save_step, Step{40});
  EXPECT_TRUE(machine.state.save_then_stop);

  machine.Do(PauseSaveEnded{"saved"});
  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.after_stop, AfterStop::kPause);
  Confirm(&machine, "a", 2);
  Confirm(&machine, "b", 2);
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kPaused);
  EXPECT_FALSE(machine.state.save_step.has_value());
}

TEST(RecoveryMachineTest, APauseThatCannotSaveStopsAfterAMinute) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.Do(Ordered(Order::kPause));
  machine.Do(Reconsider{}, TestNow(seconds(59)));
  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
  machine.Do(Reconsider{}, TestNow(seconds(60)));
  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.after_stop, AfterStop::kPause);
}

TEST(RecoveryMachineTest, AFaultDuringAPauseDoesNotRestartTheRun) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.Do(Ordered(Order::kPause));

  machine.Do(Crash(34));

  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.after_stop, AfterStop::kPause);
  EXPECT_TRUE(machine.state.restarts.empty());
}

TEST(RecoveryMachineTest, AFaultAfterAnOperatorsStopChangesNothing) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.Do(Ordered(Order::kStop));
  machine.Do(Crash(34));
  EXPECT_EQ(machine.state.after_stop, AfterStop::kEnd);
}

TEST(RecoveryMachineTest, ARollbackGivesUpTheLaterCheckpoints) {
  TestMachine machine = In(RunPhase::kRunning);
  AddTo(&machine.checkpoints,
        TestCheckpoint(20, 1, CheckpointState::kVerified));
  AddTo(&machine.checkpoints,
        TestCheckpoint(30, 1, CheckpointState::kVerified));

  const Advanced advanced = machine.Do(Ordered(Order::kRollback, Step{20}));

  EXPECT_TRUE(advanced.status.ok());
  ASSERT_NE(FindIntent<DistrustFrom>(advanced), nullptr);
  EXPECT_EQ(FindIntent<DistrustFrom>(advanced)->step, Step{21});
  EXPECT_EQ(machine.state.rollback_to, Step{20});
}

TEST(RecoveryMachineTest, ARollbackToNoCheckpointIsRefusedWithTheChoices) {
  TestMachine machine = In(RunPhase::kRunning);
  AddTo(&machine.checkpoints,
        TestCheckpoint(20, 1, CheckpointState::kVerified));

  const Advanced advanced = machine.Do(Ordered(Order::kRollback, Step{25}));

  EXPECT_EQ(advanced.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(advanced.reason, HasSubstr("usable: 20"));
  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
}

TEST(RecoveryMachineTest, ARunThatIsBeingStoppedForGoodTakesNoOtherOrder) {
  TestMachine machine = In(RunPhase::kRunning);
  machine.Do(Ordered(Order::kStop));
  EXPECT_FALSE(machine.Do(Ordered(Order::kRestart)).status.ok());
  EXPECT_EQ(machine.state.after_stop, AfterStop::kEnd);
}

TEST(RecoveryMachineTest, AnEndedRunStaysEnded) {
  for (const Order order : {Order::kPause, Order::kResume, Order::kRestart,
                            Order::kRollback, Order::kStop}) {
    TestMachine machine = In(RunPhase::kCompleted);
    EXPECT_FALSE(machine.Do(Ordered(order)).status.ok());
    EXPECT_EQ(machine.state.phase, RunPhase::kCompleted);
  }
}

TEST(RecoveryMachineTest, WaitingForNodesTellsAPersonOnce) {
  TestMachine machine = In(RunPhase::kPlacing);
  Confirm(&machine, "a", 1);
  machine.cluster.Node("b").Silent(minutes(1));
  EXPECT_EQ(
      FindIntent<PageOperator>(machine.Do(Reconsider{}, TestNow(seconds(4)))),
      nullptr);
  EXPECT_NE(
      FindIntent<PageOperator>(machine.Do(Reconsider{}, TestNow(seconds(5)))),
      nullptr);
  EXPECT_EQ(
      FindIntent<PageOperator>(machine.Do(Reconsider{}, TestNow(seconds(6)))),
      nullptr);
  EXPECT_GT(machine.state.time_seconds.at("waiting_for_nodes"), 5.9);
}

TEST(RecoveryMachineTest, AnAttemptNewerThanTheStoreIsTakenOver) {
  TestMachine machine = In(RunPhase::kRunning);
  ForeignAttemptFound found;
  found.attempt = AttemptId{7};
  found.placement = machine.state.placement;

  machine.Do(found);

  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
  EXPECT_EQ(machine.state.attempt, AttemptId{7});
}

TEST(RecoveryMachineTest, AHeldRunIsNotTakenOver) {
  TestMachine machine = In(RunPhase::kPaused);
  ForeignAttemptFound found;
  found.attempt = AttemptId{7};
  EXPECT_FALSE(machine.Do(found).has_changed);
  EXPECT_EQ(machine.state.phase, RunPhase::kPaused);
}

TEST(RecoveryMachineTest, AllRanksEndingWellCompleteTheRun) {
  for (const RunPhase phase : {RunPhase::kStarting, RunPhase::kRunning}) {
    TestMachine machine = In(phase);
    machine.Do(AllFinished{}, TestNow(seconds(9)));
    EXPECT_EQ(machine.state.phase, RunPhase::kCompleted);
    EXPECT_EQ(machine.state.ended, TestNow(seconds(9)).wall);
  }
}

}  // namespace
}  // namespace steadyrun
