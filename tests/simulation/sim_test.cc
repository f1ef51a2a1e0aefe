// The product's Engine and AgentCore in thousands of bad days.
//
//   SIM_SEEDS=N     how many histories (default 2000; 200 with a sanitizer)
//   SIM_FIRST=N     the first seed (default 1)
//   SIM_SEED=N      replays one and prints what happened

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/simulation/simulation.h"

namespace steadyrun::sim {
namespace {

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Two thousand are a minute on one core, ten times that with a sanitizer.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kDefaultSeeds = 200;
#else
constexpr std::uint64_t kDefaultSeeds = 2000;
#endif

SimulationResult RunSeed(std::uint64_t seed, bool keeps_trace) {
  SimulationOptions options;
  options.seed = seed;
  options.keeps_trace = keeps_trace;
  return Simulation(options).Run();
}

std::string Describe(std::uint64_t seed, const SimulationResult& result) {
  if (!result.violation) return "";
  return fmt::format(
      "seed {} ({}) broke {} at {:.3f} s: {}\n"
      "replay: SIM_SEED={} steadyrun_sim_test "
      "--gtest_filter=SimulationTest.ReplaysOneSeed",
      seed, result.profile, result.violation->rule,
      ToSeconds(result.violation->at), result.violation->what, seed);
}

struct Totals {
  std::uint64_t histories = 0;
  std::uint64_t events = 0;
  double virtual_hours = 0;
  std::uint64_t restarts = 0;
  std::uint64_t completed = 0;
  std::uint64_t halts = 0;
  std::uint64_t attempts = 0;
  std::array<std::uint64_t, kFaultKinds> injected{};

  void Add(const SimulationResult& result) {
    ++histories;
    events += result.events;
    virtual_hours += ToSeconds(result.virtual_time) / 3600;
    restarts += static_cast<std::uint64_t>(result.automatic_restarts);
    completed += static_cast<std::uint64_t>(result.completed);
    halts += static_cast<std::uint64_t>(result.halts);
    attempts += result.attempts;
    for (std::size_t i = 0; i < kFaultKinds; ++i) {
      injected[i] += result.injected[i];
    }
  }
  void Print() const {
    std::printf(
        "%llu histories, %.0f cluster-hours, %llu events, %llu attempts, %llu "
        "automatic restarts, %llu runs completed, %llu halts\n",
        static_cast<unsigned long long>(histories), virtual_hours,
        static_cast<unsigned long long>(events),
        static_cast<unsigned long long>(attempts),
        static_cast<unsigned long long>(restarts),
        static_cast<unsigned long long>(completed),
        static_cast<unsigned long long>(halts));
    for (std::size_t i = 0; i < kFaultKinds; ++i) {
      std::printf("  %-20s %llu\n",
                  std::string(FaultName(static_cast<FaultKind>(i))).c_str(),
                  static_cast<unsigned long long>(injected[i]));
    }
  }
};

TEST(SimulationTest, NoInvariantIsEverBroken) {
  if (std::getenv("SIM_SEED") != nullptr) GTEST_SKIP();
  const std::uint64_t first = FromEnvironment("SIM_FIRST", 1);
  const std::uint64_t seeds = FromEnvironment("SIM_SEEDS", kDefaultSeeds);
  Totals totals;
  int broken = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    const SimulationResult result = RunSeed(seed, false);
    totals.Add(result);
    EXPECT_FALSE(result.violation.has_value()) << Describe(seed, result);
    if (result.violation && ++broken >= 10) break;
  }
  totals.Print();
}

TEST(SimulationTest, EqualSeedsGiveEqualHistories) {
  for (const std::uint64_t seed : {1u, 4u, 6u}) {
    EXPECT_EQ(RunSeed(seed, false).digest, RunSeed(seed, true).digest);
  }
}

TEST(SimulationTest, DifferentSeedsGiveDifferentHistories) {
  EXPECT_NE(RunSeed(1, false).digest, RunSeed(2, false).digest);
}

TEST(SimulationTest, ReplaysOneSeed) {
  if (std::getenv("SIM_SEED") == nullptr) GTEST_SKIP();
  const std::uint64_t seed = FromEnvironment("SIM_SEED", 1);

  const SimulationResult result = RunSeed(seed, true);

  for (const std::string& line : result.trace) std::puts(line.c_str());
  EXPECT_FALSE(result.violation.has_value()) << Describe(seed, result);
}

}  // namespace
}  // namespace steadyrun::sim
