#include "fleet/sim/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "fleet/sim/fault_plan.h"

namespace steadyrun::fleet {
namespace {

using ::testing::HasSubstr;

TEST(Profile, ReadsWhatIsSetAndKeepsTheRest) {
  const auto profile = ParseProfile(
      "name = \"small\"\n"
      "[job]\nstep_seconds = 0.5\n"
      "[curve]\nkind = \"rl\"\n"
      "[faults.exactly]\nloss_spike_benign = 3\n",
      "small.toml");
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(profile->name, "small");
  EXPECT_EQ(profile->job.step_seconds, 0.5);
  EXPECT_TRUE(profile->curve.is_rl);
  EXPECT_EQ(profile->faults
                .exactly[static_cast<std::size_t>(FaultKind::kSpikeBenign)],
            3);
  EXPECT_EQ(profile->noise.work, HealthyProfile().noise.work);
}

TEST(Profile, RefusesUnknownKeysWithLineAndNearestKey) {
  const auto profile =
      ParseProfile("[job]\nstep_second = 1\n[noise]\nwork = 7\n", "bad.toml");
  ASSERT_FALSE(profile.ok());
  const std::string message(profile.status().message());
  EXPECT_THAT(message, HasSubstr("bad.toml:2"));
  EXPECT_THAT(message, HasSubstr("step_seconds"));
  EXPECT_THAT(message, HasSubstr("bad.toml:4"));
}

TEST(FaultPlan, IsAFunctionOfTheSeed) {
  const PlanShape shape{1000, 86400, 7};
  const auto one = PlanFaults(DefaultProfile(), shape);
  const auto two = PlanFaults(DefaultProfile(), shape);
  ASSERT_EQ(one.size(), two.size());
  ASSERT_FALSE(one.empty());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].kind, two[i].kind);
    EXPECT_EQ(one[i].onset, two[i].onset);
    EXPECT_EQ(one[i].rank, two[i].rank);
    EXPECT_EQ(one[i].id, static_cast<std::int32_t>(i) + 1);
  }
  const auto other = PlanFaults(DefaultProfile(), {1000, 86400, 8});
  EXPECT_TRUE(other.size() != one.size() || other[0].onset != one[0].onset);
}

TEST(FaultPlan, KeepsToRatesAndNumbers) {
  // 10 days of 1,250 nodes at 3.8 in 1,000 node-days: 47.5 faults, of which
  // 98.5 % (the mix) are drawn; a Poisson number lies within 5 deviations.
  const auto plan = PlanFaults(DefaultProfile(), {10'000, 86'400, 3});
  const auto stops = std::ranges::count_if(
      plan, [](const Fault& fault) { return StopsTheJob(fault.kind); });
  EXPECT_GT(stops, 47 - 5 * 7);
  EXPECT_LT(stops, 47 + 5 * 7 + 5);

  FleetProfile exact = HealthyProfile();
  exact.faults.exactly[static_cast<std::size_t>(FaultKind::kHang)] = 5;
  EXPECT_EQ(PlanFaults(exact, {64, 2000, 1}).size(), 5u);
  EXPECT_TRUE(PlanFaults(HealthyProfile(), {64, 2000, 1}).empty());
}

TEST(FaultPlan, LemonsCarryMoreThanTheirShare) {
  FleetProfile profile = HealthyProfile();
  profile.faults.exactly[static_cast<std::size_t>(FaultKind::kCrash)] = 400;
  profile.faults.lemon_nodes = 0.04;
  profile.faults.lemon_failures = 0.5;
  std::vector<int> by_node(100, 0);
  for (const Fault& fault : PlanFaults(profile, {800, 100'000, 5})) {
    ++by_node[static_cast<std::size_t>(fault.rank.value / 8)];
  }
  std::ranges::sort(by_node, std::greater<>());
  // Four lemons of a hundred nodes have about half of 400 faults.
  EXPECT_GT(by_node[0] + by_node[1] + by_node[2] + by_node[3], 140);
}

}  // namespace
}  // namespace steadyrun::fleet
