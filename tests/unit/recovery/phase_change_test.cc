#include "server/recovery/phase_change.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "server/recovery/time_ledger.h"
#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

using enum RunPhase;

TEST(PhaseChangeTest, OnlyTheseEdgesAreLegal) {
  const std::set<std::pair<RunPhase, RunPhase>> legal = {
      {kPlacing, kVerifying},  {kPlacing, kStopping},  {kPlacing, kRunning},
      {kVerifying, kStarting}, {kVerifying, kPlacing}, {kVerifying, kStopping},
      {kVerifying, kRunning},  {kStarting, kRunning},  {kStarting, kStopping},
      {kStarting, kCompleted}, {kRunning, kStopping},  {kRunning, kCompleted},
      {kStopping, kPlacing},   {kStopping, kPaused},   {kStopping, kHalted},
      {kStopping, kStopped},   {kStopping, kRunning},  {kPaused, kStopping},
      {kHalted, kStopping}};
  for (int from = 0; from <= static_cast<int>(kStopped); ++from) {
    for (int to = 0; to <= static_cast<int>(kStopped); ++to) {
      const std::pair edge{static_cast<RunPhase>(from),
                           static_cast<RunPhase>(to)};
      EXPECT_EQ(IsLegalEdge(edge.first, edge.second), legal.contains(edge))
          << RunPhaseName(edge.first) << " to " << RunPhaseName(edge.second);
    }
  }
}

TEST(PhaseChangeDeathTest, AnIllegalEdgeEndsTheProcess) {
  RunState state = TestState(kHalted);
  EXPECT_DEATH(EnterPhase(&state, kStarting, "", TestNow()), "IsLegalEdge");
}

TEST(PhaseChangeTest, TheOldPhasesTimeIsAccountedAndItsDeadlineGone) {
  RunState state = TestState(kStopping);
  state.phase_deadline = TestNow(seconds(1)).mono;

  EnterPhase(&state, kPlacing, "why", TestNow(seconds(2)));

  EXPECT_DOUBLE_EQ(state.time_seconds.at("stopping"), 2);
  EXPECT_EQ(state.phase_since, TestNow(seconds(2)));
  EXPECT_EQ(state.phase_deadline, MonoTime::max());
  EXPECT_EQ(state.phase_reason, "why");
}

TEST(PhaseChangeTest, StoppingAsksForAllProofsAnew) {
  RunState state = TestState(kPaused);
  state.placement[0].proof = StopProof::kConfirmed;

  EnterStopping(&state, AfterStop::kRestart, "resumed", TestNow());

  EXPECT_EQ(state.placement[0].proof, StopProof::kNone);
  EXPECT_EQ(state.after_stop, AfterStop::kRestart);
}

}  // namespace
}  // namespace steadyrun
