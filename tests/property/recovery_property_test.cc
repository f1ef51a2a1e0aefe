// Random histories of the recovery machine against its safety rules. Goal: no
// history breaks one, and each rule would be seen to break (the defects).
//
// Replay one:            SIM_SEED=123 recovery_property_test
// More of them:          SIM_RUNS=100000 recovery_property_test

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tests/property/history.h"

namespace steadyrun {
namespace {

std::uint64_t EnvOr(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// The first seed that breaks a rule; 0: none did.
std::uint64_t FirstViolation(RecoveryDefects defects, std::uint64_t runs,
                             std::string* what, History::Tally* sum) {
  const std::uint64_t only = EnvOr("SIM_SEED", 0);
  for (std::uint64_t seed = only > 0 ? only : 1; seed <= runs || only > 0;
       ++seed) {
    History history(seed, defects);
    *what = history.Run();
    sum->starts += history.Count().starts;
    sum->stops += history.Count().stops;
    sum->fences += history.Count().fences;
    sum->halts += history.Count().halts;
    sum->pauses += history.Count().pauses;
    sum->holds += history.Count().holds;
    sum->held_faults += history.Count().held_faults;
    sum->reloads += history.Count().reloads;
    sum->first_steps += history.Count().first_steps;
    sum->completions += history.Count().completions;
    if (!what->empty()) return seed;
    if (only > 0) break;
  }
  return 0;
}

TEST(RecoveryPropertyTest, NoHistoryBreaksASafetyRule) {
  std::string what;
  History::Tally sum;
  const std::uint64_t seed =
      FirstViolation({}, EnvOr("SIM_RUNS", 1500), &what, &sum);
  EXPECT_EQ(seed, 0U) << what << "replay: SIM_SEED=" << seed
                      << " build/bin/recovery_property_test";
  // The histories reach all of the machine, unless only a few were asked for.
  if (EnvOr("SIM_SEED", 0) == 0 && EnvOr("SIM_RUNS", 1500) >= 1000) {
    EXPECT_GT(sum.starts, 1000);
    EXPECT_GT(sum.first_steps, 1000);
    EXPECT_GT(sum.fences, 100);
    EXPECT_GT(sum.halts, 100);
    EXPECT_GT(sum.pauses, 100);
    EXPECT_GT(sum.holds, 100);
    EXPECT_GT(sum.held_faults, 100);
    EXPECT_GT(sum.reloads, 100);
    EXPECT_GT(sum.completions, 5);
  }
}

// A test that cannot fail proves nothing: each deliberate defect is caught.
class DefectTest : public testing::TestWithParam<int> {};

TEST_P(DefectTest, IsCaught) {
  RecoveryDefects defects;
  switch (GetParam()) {
    case 0:
      defects.starts_before_all_stopped = true;
      break;
    case 1:
      defects.counts_silence_as_proof = true;
      break;
    case 2:
      defects.trusts_distrusted = true;
      break;
    case 3:
      defects.leaves_pause = true;
      break;
    case 4:
      defects.ignores_hold = true;
      break;
    default:
      defects.reuses_attempt = true;
      break;
  }
  std::string what;
  History::Tally sum;
  EXPECT_NE(FirstViolation(defects, 500, &what, &sum), 0U);
}

INSTANTIATE_TEST_SUITE_P(All, DefectTest, testing::Range(0, 6));

}  // namespace
}  // namespace steadyrun
