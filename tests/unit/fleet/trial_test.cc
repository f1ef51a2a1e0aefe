#include "fleet/sim/trial.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fleet/sim/fault_plan.h"

namespace steadyrun::fleet {
namespace {

TrialOptions SmallTrial(FleetProfile profile, std::int64_t steps) {
  TrialOptions options;
  options.job.run = "trial";
  options.job.profile = std::move(profile);
  options.job.profile.job.step_seconds = 2;
  options.job.ranks = 64;
  options.job.steps = steps;
  options.job.seed = 11;
  options.job.faults =
      PlanFaults(options.job.profile, {64, steps, options.job.seed});
  options.beat = std::chrono::seconds(2);
  return options;
}

FleetProfile With(std::initializer_list<std::pair<FaultKind, int>> counts) {
  FleetProfile profile = HealthyProfile();
  for (const auto& [kind, count] : counts) {
    profile.faults.exactly[static_cast<std::size_t>(kind)] = count;
  }
  return profile;
}

TEST(Trial, HealthyRunsEndWithoutAWordOfProcesses) {
  const TrialResult result = Trial(SmallTrial(HealthyProfile(), 1500)).Run();
  EXPECT_EQ(result.rows, 1500);
  EXPECT_EQ(result.attempts, 1);
  for (const Incident& incident : result.incidents) {
    ADD_FAILURE() << incident.reason;
  }
}

TEST(Trial, CrashesHangsAndLostNodesAreFoundAndHealed) {
  const TrialResult result = Trial(SmallTrial(With({{FaultKind::kCrash, 4},
                                                    {FaultKind::kHang, 4},
                                                    {FaultKind::kNodeLost, 3}}),
                                              1500))
                                 .Run();
  // As many stories as faults, in their order, each with its own attempt.
  std::vector<const Fault*> faults;
  for (const Fault& fault : result.faults) faults.push_back(&fault);
  std::ranges::sort(faults, {}, [](const Fault* f) { return f->struck; });
  ASSERT_EQ(result.incidents.size(), faults.size());
  for (std::size_t i = 0; i < faults.size(); ++i) {
    const Incident& incident = result.incidents[i];
    const Fault& fault = *faults[i];
    SCOPED_TRACE(incident.reason);
    EXPECT_EQ(IncidentKindName(incident.kind), FaultKindName(fault.kind));
    EXPECT_EQ(incident.attempt, fault.attempt);
    if (fault.comment != "no trace") {
      EXPECT_EQ(incident.culprit.node, fault.node);
      if (fault.kind != FaultKind::kNodeLost) {
        EXPECT_EQ(incident.culprit.rank, fault.rank) << fault.comment;
      }
    }
    EXPECT_EQ(incident.state, IncidentState::kRecovered);
  }
  EXPECT_EQ(result.attempts, 1 + static_cast<std::int32_t>(faults.size()));
}

TEST(Trial, LostAgentsDoNotStopTheRun) {
  const TrialResult result =
      Trial(SmallTrial(With({{FaultKind::kAgentLost, 3}}), 800)).Run();
  EXPECT_EQ(result.attempts, 1);
  ASSERT_EQ(result.incidents.size(), 3u);
  for (const Incident& incident : result.incidents) {
    EXPECT_EQ(incident.kind, IncidentKind::kAgentLost);
  }
}

TEST(Trial, NanIsClaimedInItsStepAndRolledBack) {
  const TrialResult result =
      Trial(SmallTrial(With({{FaultKind::kNan, 2}}), 800)).Run();
  ASSERT_EQ(result.claims.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(result.claims[i].finding.step, result.faults[i].onset);
    EXPECT_EQ(result.claims[i].finding.culprit.rank, result.faults[i].rank);
  }
  EXPECT_EQ(result.attempts, 3);
}

TEST(Trial, IsDeterministic) {
  const auto run = [] {
    return Trial(SmallTrial(With({{FaultKind::kCrash, 3}}), 500)).Run();
  };
  const TrialResult one = run();
  const TrialResult two = run();
  ASSERT_EQ(one.incidents.size(), two.incidents.size());
  for (std::size_t i = 0; i < one.incidents.size(); ++i) {
    EXPECT_EQ(one.incidents[i], two.incidents[i]);
  }
  EXPECT_EQ(one.simulated, two.simulated);
}

}  // namespace
}  // namespace steadyrun::fleet
