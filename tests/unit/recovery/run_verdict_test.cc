#include "server/recovery/run_verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;

TEST(RunVerdictTest, AHealthyRunSaysHowFarItIs) {
  RunState state = TestState(RunPhase::kRunning);
  state.spec.target_steps = 1500;
  state.attempt_step = Step{812};
  const VerdictInput input{state, {}, {}, Step{800}, 28, false, "", {}};

  const RunVerdict verdict = DescribeRun(input);

  EXPECT_EQ(verdict.verdict, "Running: step 812 of 1500.");
  EXPECT_EQ(verdict.next,
            "A fault would resume it from step 800; 28 restarts left.");
}

TEST(RunVerdictTest, WhileStoppingItNamesWhoIsWaitedFor) {
  const RunState state = TestState(RunPhase::kStopping);
  const VerdictInput input{state, {}, {}, kNoStep, 3, false, "b", {}};

  EXPECT_THAT(DescribeRun(input).next, HasSubstr("proved stopped: b."));
}

TEST(RunVerdictTest, AHaltSaysWhatAPersonCanDo) {
  RunState state = TestState(RunPhase::kHalted);
  state.phase_reason = "repeats at the same step";
  Incident incident;
  incident.reason = "Rank 3 ended.";
  const VerdictInput input{state, {&incident}, {}, Step{30}, 3, false, "", {}};

  const RunVerdict verdict = DescribeRun(input);

  EXPECT_EQ(verdict.verdict, "Halted: a person must decide.");
  EXPECT_EQ(verdict.why, "repeats at the same step");
  EXPECT_THAT(verdict.next, HasSubstr("`steadyrun resume gpt` tries again "
                                      "from step 30"));
}

TEST(RunVerdictTest, TheWorstIncidentIsTheReason) {
  const RunState state = TestState(RunPhase::kRunning);
  Incident warning;
  warning.severity = Severity::kWarning;
  warning.reason = "agent";
  Incident critical;
  critical.kind = IncidentKind::kHang;
  critical.severity = Severity::kCritical;
  critical.reason = "hang";
  critical.culprit = {"b", Rank{2}};
  const VerdictInput input{
      state, {&warning, &critical}, {}, kNoStep, 3, false, "", {}};

  const RunVerdict verdict = DescribeRun(input);

  EXPECT_EQ(verdict.why, "hang");
  EXPECT_THAT(verdict.verdict, HasSubstr("rank 2 on b"));
}

TEST(RunVerdictTest, MassSilenceSuspectsTheNetworkNotTheRun) {
  const RunState state = TestState(RunPhase::kRunning);
  const VerdictInput input{state, {}, {}, kNoStep, 3, true, "", {}};

  EXPECT_THAT(DescribeRun(input).verdict, HasSubstr("Most nodes are silent"));
}

TEST(RunVerdictTest, BackOffSaysHowLong) {
  RunState state = TestState(RunPhase::kPlacing);
  state.phase_deadline = TestNow(seconds(8)).mono;
  const VerdictInput input{state, {},    {}, kNoStep,
                           3,     false, "", TestNow().mono};

  EXPECT_THAT(DescribeRun(input).next, HasSubstr("Starts in 8 s (back-off)"));
}

TEST(RunVerdictTest, AHeldRunSaysWhoHoldsItAndWhatWaits) {
  RunState state = TestState(RunPhase::kRunning);
  state.attempt_step = Step{34};
  state.is_held = true;
  state.hold_reason = "held by ada: the switch";
  Incident incident;
  incident.culprit = {"b", Rank{2}};
  incident.reason = "Rank 2 ended.";

  const RunVerdict quiet =
      DescribeRun({state, {}, {}, Step{30}, 3, false, "", {}});
  EXPECT_EQ(quiet.verdict, "Running: step 34.");
  EXPECT_EQ(quiet.why, "held by ada: the switch");
  EXPECT_EQ(quiet.next,
            "A fault would page and wait for `steadyrun unhold gpt`.");

  state.held_incident = 1;
  const RunVerdict fault =
      DescribeRun({state, {&incident}, {}, Step{30}, 3, false, "", {}});
  EXPECT_EQ(fault.verdict,
            "Held, with a fault that waits: crash (rank 2 on b).");
  EXPECT_EQ(fault.why, "Rank 2 ended. (held by ada: the switch)");
  EXPECT_EQ(fault.next,
            "`steadyrun unhold gpt` answers it; a restart would be from step "
            "30.");

  state.phase = RunPhase::kPlacing;
  state.held_incident = 0;
  const RunVerdict stopped =
      DescribeRun({state, {}, {}, Step{30}, 3, false, "", {}});
  EXPECT_EQ(stopped.verdict, "Held: nothing is started.");
  EXPECT_EQ(stopped.next, "`steadyrun unhold gpt` goes on from step 30.");
}

}  // namespace
}  // namespace steadyrun
