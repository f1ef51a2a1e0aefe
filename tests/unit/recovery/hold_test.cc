#include "server/recovery/hold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/recovery/time_ledger.h"
#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;

FailureFound Crash(WallTime onset = TestNow().wall) {
  FailureFound found;
  found.failure = {IncidentKind::kCrash, "E", Step{34}};
  found.incident = 3;
  found.onset = onset;
  found.reason = "Rank 3 ended.";
  return found;
}

OperatorOrdered Ordered(Order order) {
  OperatorOrdered ordered;
  ordered.order = order;
  ordered.actor = "ada";
  ordered.reason = "the switch";
  return ordered;
}

// Attempt 1 on two nodes, at step 34, held.
TestMachine HeldIn(RunPhase phase) {
  TestMachine machine;
  machine.state = TestState(phase);
  machine.state.attempt_step = machine.state.max_step = Step{34};
  machine.cluster.Node("a").Floor(1).Started(1).Rank(0, 1, RankLife::kAlive);
  machine.cluster.Node("b").Floor(1).Started(1).Rank(2, 1, RankLife::kAlive);
  AddTo(&machine.checkpoints,
        TestCheckpoint(30, 1, CheckpointState::kVerified));
  machine.Do(Ordered(Order::kHold));
  return machine;
}

void ProveStopped(TestMachine* machine, std::int64_t floor) {
  for (const char* node : {"a", "b"}) {
    machine->cluster.Node(node).Floor(floor).Run().ranks.clear();
  }
  machine->verified = {"a", "b"};
}

TEST(HoldTest, SaysWhoAndWhyAndOnce) {
  TestMachine machine = HeldIn(RunPhase::kRunning);
  EXPECT_TRUE(machine.state.is_held);
  EXPECT_EQ(machine.state.hold_reason, "held by ada: the switch");

  const Advanced again = machine.Do(Ordered(Order::kHold));
  EXPECT_EQ(again.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(again.reason, HasSubstr("held by ada: the switch already"));

  EXPECT_TRUE(machine.Do(Ordered(Order::kUnhold)).status.ok());
  EXPECT_FALSE(machine.state.is_held);
  EXPECT_EQ(machine.Do(Ordered(Order::kUnhold)).reason, "it is not held");
}

TEST(HoldTest, AFaultIsKeptAndSaidWithWhatWouldHaveBeen) {
  for (const RunPhase phase : {RunPhase::kRunning, RunPhase::kStarting}) {
    TestMachine machine = HeldIn(phase);

    const Advanced advanced = machine.Do(Crash());

    EXPECT_EQ(machine.state.phase, phase);
    EXPECT_TRUE(machine.state.restarts.empty());
    EXPECT_EQ(machine.state.held_incident, 3);
    EXPECT_TRUE(advanced.has_changed);
    const auto* decided = FindIntent<Decided>(advanced);
    ASSERT_NE(decided, nullptr);
    EXPECT_EQ(decided->action, "held");
    EXPECT_EQ(decided->incident, 3);
    EXPECT_EQ(decided->reason,
              "held by ada: the switch; would have been: restart from the "
              "checkpoint of step 30");
    const auto* page = FindIntent<PageOperator>(advanced);
    ASSERT_NE(page, nullptr);
    EXPECT_EQ(page->incident, 3);
    EXPECT_THAT(page->text, HasSubstr("Rank 3 ended. Nothing is done"));
  }
}

TEST(HoldTest, AHaltIsAStopToo) {
  TestMachine machine = HeldIn(RunPhase::kRunning);
  machine.policy.restart.restarts_per_hour = 0;

  const Advanced advanced = machine.Do(Crash());

  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
  EXPECT_THAT(FindIntent<Decided>(advanced)->reason,
              HasSubstr("would have been: halt"));
}

TEST(HoldTest, WhatNeedsNoStopIsDone) {
  TestMachine machine = HeldIn(RunPhase::kRunning);
  machine.policy.For(IncidentKind::kCrash).ladder = {Remedy::kPage};

  const Advanced advanced = machine.Do(Crash());

  EXPECT_EQ(FindIntent<Decided>(advanced)->action, "page");
  EXPECT_EQ(machine.state.held_incident, 0);
}

TEST(HoldTest, AfterTheReleaseTheFaultIsAnsweredAndItsTimeIsTheHolds) {
  TestMachine machine = HeldIn(RunPhase::kRunning);
  const Now start = TestNow();
  // The last step was made at the start, the fault began a second later.
  machine.Do(Crash(TestNow(seconds(1)).wall), TestNow(seconds(3)));

  const Now release = TestNow(seconds(63));
  const Advanced advanced = machine.Do(Ordered(Order::kUnhold), release);
  EXPECT_THAT(advanced.reason,
              HasSubstr("incident gpt:3 is answered if it still stands"));
  machine.Do(Crash(TestNow(seconds(1)).wall), release);

  EXPECT_EQ(machine.state.phase, RunPhase::kStopping);
  EXPECT_EQ(machine.state.held_incident, 0);
  EXPECT_EQ(machine.state.restarts.size(), 1U);
  EXPECT_DOUBLE_EQ(machine.state.time_seconds.at("rework"), 1);
  EXPECT_DOUBLE_EQ(machine.state.time_seconds.at("detection"), 2);
  EXPECT_DOUBLE_EQ(machine.state.time_seconds.at("held"), 60);
  EXPECT_DOUBLE_EQ(
      AccountedSeconds(machine.state),
      std::chrono::duration<double>(release.wall - start.wall).count());
}

TEST(HoldTest, AStopThatHasBegunGoesOnThenTheRunWaitsInPlacing) {
  TestMachine machine = HeldIn(RunPhase::kRunning);
  machine.Do(Ordered(Order::kUnhold));
  machine.Do(Crash());
  machine.Do(Ordered(Order::kHold));
  ASSERT_EQ(machine.state.phase, RunPhase::kStopping);

  ProveStopped(&machine, 2);
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kPlacing);
  EXPECT_EQ(machine.state.phase_reason, "held by ada: the switch");
  for (int i = 1; i < 100; ++i) {
    EXPECT_FALSE(machine.Do(Reconsider{}, TestNow(seconds(i))).has_changed);
  }
  EXPECT_EQ(machine.state.phase, RunPhase::kPlacing);
  EXPECT_DOUBLE_EQ(machine.state.time_seconds.at("held"), 99);

  machine.Do(Ordered(Order::kUnhold), TestNow(seconds(100)));
  machine.Do(Reconsider{}, TestNow(seconds(100)));
  EXPECT_EQ(machine.state.phase, RunPhase::kStarting);
  EXPECT_EQ(machine.state.resume_step, Step{30});
}

TEST(HoldTest, NothingIsStartedFromVerifying) {
  TestMachine machine = HeldIn(RunPhase::kVerifying);
  machine.state.attempt = AttemptId{2};
  machine.state.resume_step = Step{30};
  ProveStopped(&machine, 2);

  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kPlacing);
  EXPECT_EQ(machine.state.phase_reason, "held by ada: the switch");
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kPlacing);
}

TEST(HoldTest, AStartThatWasOrderedGoesOn) {
  TestMachine machine = HeldIn(RunPhase::kStarting);
  machine.Do(Reconsider{});
  EXPECT_EQ(machine.state.phase, RunPhase::kStarting);
  machine.Do(StepCompleted{Step{35}});
  EXPECT_EQ(machine.state.phase, RunPhase::kRunning);
  EXPECT_TRUE(machine.state.is_held);
}

TEST(HoldTest, OrdersThatStartAreRefusedWithTheWayOut) {
  for (const Order order :
       {Order::kRestart, Order::kResume, Order::kRollback}) {
    TestMachine machine = HeldIn(RunPhase::kPaused);
    OperatorOrdered ordered = Ordered(order);
    ordered.step = Step{30};
    const Advanced advanced = machine.Do(ordered);
    EXPECT_EQ(advanced.status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(advanced.reason, HasSubstr("held by ada: the switch"));
    EXPECT_THAT(advanced.reason, HasSubstr("`steadyrun unhold gpt`"));
    EXPECT_EQ(machine.state.phase, RunPhase::kPaused);
  }
}

TEST(HoldTest, PauseAndStopAreObeyed) {
  TestMachine paused = HeldIn(RunPhase::kRunning);
  OperatorOrdered pause = Ordered(Order::kPause);
  pause.newest_step = Step{34};
  EXPECT_TRUE(paused.Do(pause).status.ok());
  EXPECT_TRUE(paused.state.save_then_stop);
  // The fault of a run that is about to pause starts nothing: it stops.
  paused.Do(Crash());
  EXPECT_EQ(paused.state.phase, RunPhase::kStopping);
  EXPECT_EQ(paused.state.after_stop, AfterStop::kPause);
  ProveStopped(&paused, 2);
  paused.Do(Reconsider{});
  EXPECT_EQ(paused.state.phase, RunPhase::kPaused);
  EXPECT_TRUE(paused.state.is_held);

  TestMachine stopped = HeldIn(RunPhase::kRunning);
  stopped.Do(Crash());
  stopped.Do(Ordered(Order::kStop), TestNow(seconds(10)));
  EXPECT_DOUBLE_EQ(stopped.state.time_seconds.at("held"), 10);
  ProveStopped(&stopped, 2);
  stopped.Do(Reconsider{}, TestNow(seconds(10)));
  EXPECT_EQ(stopped.state.phase, RunPhase::kStopped);
  EXPECT_FALSE(stopped.state.is_held);
}

TEST(HoldTest, ARunThatFinishesIsNotHeldAnyMore) {
  TestMachine machine = HeldIn(RunPhase::kRunning);
  machine.Do(AllFinished{});
  EXPECT_EQ(machine.state.phase, RunPhase::kCompleted);
  EXPECT_FALSE(machine.state.is_held);
  EXPECT_EQ(machine.Do(Ordered(Order::kHold)).status.code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace steadyrun
