#include "server/recovery/save_agreement.h"

#include <gtest/gtest.h>

#include "tests/unit/recovery/test_cluster.h"

namespace steadyrun {
namespace {

TEST(SaveAgreementTest, TheMarginIsTheStepsOfTheReachAndTwo) {
  const Duration reach = milliseconds(1500);
  struct Case {
    double step_seconds;
    std::int32_t doublings;
    std::int64_t margin;
  };
  for (const Case& c : {Case{0.1, 0, 17}, Case{0.5, 0, 5}, Case{1.0, 0, 4},
                        Case{60.0, 0, 3}, Case{0, 0, 2}, Case{0.5, 1, 10},
                        Case{0.5, 3, 40}, Case{1e-9, 0, 1'000'000}}) {
    EXPECT_EQ(SaveMargin(reach, c.step_seconds, c.doublings), c.margin)
        << c.step_seconds << " doubled " << c.doublings;
  }
}

TEST(SaveAgreementTest, TheStepLiesAheadOfAllRanksAndHasANewWord) {
  RunState state = TestState(RunPhase::kRunning);
  state.save_seq = 7;

  const Step step = OrderSave(&state, SavePolicy{}, Step{100}, 0.5, false, "q");

  EXPECT_EQ(step, Step{105});
  EXPECT_EQ(state.save_step, step);
  EXPECT_EQ(state.save_seq, 8U);
  EXPECT_EQ(state.save_request_id, "q");
}

TEST(SaveAgreementTest, TheStepIsNotPastTheLastOfTheRun) {
  RunState state = TestState(RunPhase::kRunning);
  state.spec.target_steps = 103;

  EXPECT_EQ(OrderSave(&state, SavePolicy{}, Step{100}, 0.5, false, ""),
            Step{102});
}

TEST(SaveAgreementTest, AMissDoublesTheMarginAFewTimesThenItIsGivenUp) {
  const SavePolicy policy;
  RunState state = TestState(RunPhase::kRunning);
  OrderSave(&state, policy, Step{100}, 0.5, true, "q");

  std::int64_t margin = 5;
  for (int i = 0; i < policy.attempts; ++i) {
    margin *= 2;
    const std::uint64_t word = state.save_seq;
    ASSERT_TRUE(RetryMissedSave(&state, policy, Step{200}, 0.5));
    EXPECT_EQ(*state.save_step, Step{200 + margin});
    EXPECT_EQ(state.save_seq, word + 1);
    EXPECT_TRUE(state.save_then_stop);
  }
  EXPECT_FALSE(RetryMissedSave(&state, policy, Step{200}, 0.5));
  EXPECT_FALSE(state.save_step.has_value());
  EXPECT_FALSE(state.save_then_stop);
}

}  // namespace
}  // namespace steadyrun
