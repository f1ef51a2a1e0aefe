#include "base/backoff.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

TEST(BackoffTest, StaysWithinItsBoundsForAnyCountAndRandom) {
  const BackoffOptions options;
  std::uint64_t random = 7;
  for (int failures = 0; failures < 200; ++failures) {
    for (int i = 0; i < 20; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      const Duration delay = BackoffDelay(options, failures, random);
      ASSERT_GE(delay, Duration::zero());
      ASSERT_LE(delay, options.max);
      if (failures == 0) {
        ASSERT_LE(delay, options.initial);
      }
    }
  }
}

TEST(BackoffTest, SpreadsOverTheWholeInterval) {
  const BackoffOptions options;

  EXPECT_LT(BackoffDelay(options, 10, 0), options.max / 100);
  EXPECT_GT(BackoffDelay(options, 10, UINT64_MAX), options.max * 99 / 100);
}

}  // namespace
}  // namespace steadyrun
