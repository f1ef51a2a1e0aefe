// The test of the tests: each deliberate defect of the protocol is caught by
// an invariant. A defect that survives is a missing invariant or a missing
// fault, and fails here.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/simulation/simulation.h"

namespace steadyrun::sim {
namespace {

constexpr std::uint64_t kSeeds = 300;

struct Mutant {
  const char* name;
  EngineMutation engine = EngineMutation::kNone;
  agent::CoreMutation core = agent::CoreMutation::kNone;
};

std::string NameOf(const testing::TestParamInfo<Mutant>& info) {
  return info.param.name;
}

class MutationTest : public testing::TestWithParam<Mutant> {};

TEST_P(MutationTest, IsCaught) {
  const Mutant& mutant = GetParam();
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.engine_mutation = mutant.engine;
    options.core_mutation = mutant.core;

    const SimulationResult result = Simulation(options).Run();

    if (!result.violation) continue;
    std::printf("%-28s caught by seed %3llu, %-8s %s\n", mutant.name,
                static_cast<unsigned long long>(seed),
                (result.violation->rule + ":").c_str(),
                result.violation->what.c_str());
    return;
  }
  FAIL() << mutant.name << " survived " << kSeeds << " seeds";
}

INSTANTIATE_TEST_SUITE_P(
    Engine, MutationTest,
    testing::Values(
        Mutant{"AckBeforeCommit", EngineMutation::kAckBeforeCommit},
        Mutant{"StartBeforeAllStopped", EngineMutation::kStartBeforeAllStopped},
        Mutant{"NoFenceOnLostNode", EngineMutation::kNoFenceOnLostNode},
        Mutant{"BudgetNotDurable", EngineMutation::kBudgetNotDurable},
        Mutant{"CommandBeforeIntent", EngineMutation::kCommandBeforeIntent},
        Mutant{"TrustsDistrusted", EngineMutation::kTrustsDistrusted},
        Mutant{"ForgetsFloorOnReload", EngineMutation::kForgetsFloorOnReload},
        Mutant{"IgnoresMassSilence", EngineMutation::kIgnoresMassSilence},
        Mutant{"LeavesPause", EngineMutation::kLeavesPause},
        Mutant{"IgnoresHold", EngineMutation::kIgnoresHold},
        Mutant{"AppliesDuplicates", EngineMutation::kAppliesDuplicates},
        Mutant{"AcceptsStaleAttempt", EngineMutation::kAcceptsStaleAttempt}),
    NameOf);

INSTANTIATE_TEST_SUITE_P(
    Agent, MutationTest,
    testing::Values(Mutant{"KillBeforeFencePersisted", EngineMutation::kNone,
                           agent::CoreMutation::kKillBeforeFencePersisted},
                    Mutant{"SpawnBeforeStartedPersisted", EngineMutation::kNone,
                           agent::CoreMutation::kSpawnBeforeStartedPersisted},
                    Mutant{"NoEpochCheck", EngineMutation::kNone,
                           agent::CoreMutation::kNoEpochCheck},
                    Mutant{"NoBootCheck", EngineMutation::kNone,
                           agent::CoreMutation::kNoBootCheck},
                    Mutant{"StartsBesideOlderAttempt", EngineMutation::kNone,
                           agent::CoreMutation::kStartsBesideOlderAttempt},
                    Mutant{"StoppedBeforeDead", EngineMutation::kNone,
                           agent::CoreMutation::kStoppedBeforeDead},
                    Mutant{"DropsUnackedReports", EngineMutation::kNone,
                           agent::CoreMutation::kDropsUnackedReports},
                    Mutant{"KillsRanksWhenServerIsLost", EngineMutation::kNone,
                           agent::CoreMutation::kKillsRanksWhenServerIsLost}),
    NameOf);

}  // namespace
}  // namespace steadyrun::sim
