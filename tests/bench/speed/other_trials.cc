// Slowdown of the whole run, waiting for input, silent data corruption.

#include <spdlog/fmt/fmt.h>

#include <cmath>

#include "server/detect/integrity/integrity_watch.h"
#include "server/detect/speed/speed_watch.h"
#include "tests/bench/speed/fleet.h"
#include "tests/bench/speed/score.h"
#include "tests/bench/speed/sections.h"

namespace steadyrun::bench {
namespace {

constexpr int kTrials = 50;
constexpr std::size_t kRanks = 64;

struct JobFault {
  IncidentKind kind = IncidentKind::kSlowdown;
  float time_factor = 1;
  float rate_factor = 1;
  float data_share = 0;  // Added, on all ranks or on one.
  std::size_t data_rank = kRanks;
};

// Step times with 2 % noise and, every 50 steps, an undeclared pause of 5 to
// 10 times a step: what an evaluation or a save looks like.
void JobTrial(std::uint64_t seed, int before, int after, const JobFault& fault,
              Score* score) {
  Fleet fleet(kRanks, seed);
  SpeedWatch watch{SpeedOptions(), ParallelLayout()};
  watch.Begin(fleet.attempt, kNow);
  Verdicts verdicts;
  StepRow row;
  std::vector<float> data(kRanks);
  std::vector<float> column(kRanks);
  const std::int64_t onset =
      before + static_cast<std::int64_t>(fleet.random.Below(10));
  while (fleet.step.value < onset + after) {
    fleet.Draw();
    const bool is_on = fleet.step.value >= onset;
    float seconds = 1 + 0.02f * fleet.random.Normal();
    if (is_on) seconds *= fault.time_factor;
    for (std::size_t r = 0; r < kRanks; ++r) {
      data[r] = 0.01f * std::abs(fleet.random.Normal());
      if (is_on && (fault.data_rank == kRanks || fault.data_rank == r)) {
        data[r] += fault.data_share;
      }
    }
    if (is_on) seconds += fault.data_share;
    if (fleet.step.value % 50 == 0) seconds *= fleet.random.Uniform(5, 10);
    fleet.Begin(&row);
    row.step_seconds = seconds;
    row.tokens = kRanks * 4096.0 * (is_on ? fault.rate_factor : 1);
    column.assign(kRanks, seconds);
    Fleet::Add(Metric::kStepSeconds, column, &row);
    column.assign(kRanks, static_cast<float>(row.tokens / kRanks));
    Fleet::Add(Metric::kTokens, column, &row);
    Fleet::Add(Metric::kDataSeconds, data, &row);
    Fleet::Add(Metric::kComputeSeconds, fleet.compute, &row);
    watch.ObserveRow(row, kNow, &verdicts);
  }
  ++score->trials;
  bool is_told = false;
  for (const Finding& finding : verdicts.findings) {
    const bool is_right = finding.kind == fault.kind &&
                          finding.step.value >= onset &&
                          (fault.data_rank == kRanks ||
                           finding.culprit.rank.value ==
                               static_cast<std::int32_t>(fault.data_rank));
    if (!is_right) {
      ++score->false_findings;
    } else if (!std::exchange(is_told, true)) {
      score->Found(static_cast<double>(finding.step.value - onset + 1));
    }
  }
}

template <typename MakeFault>
Score JobTrials(const Seeds& seeds, MakeFault make) {
  Score score;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    for (int trial = 0; trial < kTrials; ++trial) {
      const std::uint64_t mixed =
          seed * 1000 + static_cast<std::uint64_t>(trial);
      Random random(mixed + 77);
      JobTrial(mixed, 150, 100, make(random), &score);
    }
  }
  return score;
}

}  // namespace

void Slowdowns(const Seeds& seeds) {
  fmt::print("\nslowdown of the whole run (64 ranks; within 100 steps)\n");
  Score healthy;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    JobTrial(seed, 10000, 0, {}, &healthy);
  }
  fmt::print("  healthy, {} x 10,000 steps with undeclared pauses: {} false\n",
             healthy.trials, healthy.false_findings);
  JobTrials(seeds, [](Random& random) {
    JobFault fault;
    fault.time_factor = 1 + random.Uniform(0.15f, 1.0f);
    return fault;
  }).Print("15-100 % longer steps");
  JobTrials(seeds, [](Random& random) {
    JobFault fault;
    fault.rate_factor = 1 - random.Uniform(0.15f, 0.5f);
    return fault;
  }).Print("15-50 % fewer tokens a second");
}

void DataStalls(const Seeds& seeds) {
  fmt::print("\ndata stall (64 ranks; within 100 steps)\n");
  JobTrials(seeds, [](Random& random) {
    JobFault fault;
    fault.kind = IncidentKind::kDataStall;
    fault.data_share = random.Uniform(0.15f, 1.0f);
    return fault;
  }).Print("all ranks wait 15-100 % of a step");
  JobTrials(seeds, [](Random& random) {
    JobFault fault;
    fault.kind = IncidentKind::kDataStall;
    fault.data_share = random.Uniform(0.15f, 1.0f);
    fault.data_rank = random.Below(kRanks);
    return fault;
  }).Print("one rank waits, named");
}

namespace {

// A vote every 10 steps among 1,024 ranks; one rank's parameters change in one
// bit at a random step. Found: at the next vote, the rank named.
void VoteTrial(std::uint64_t seed, const ParallelLayout& layout, Score* score) {
  Fleet fleet(1024, seed);
  IntegrityWatch watch(IntegrityOptions(), layout);
  watch.Begin(fleet.attempt, kNow);
  const RankPlaces places(layout, fleet.Size());
  const std::size_t bad = fleet.random.Below(fleet.Size());
  const auto onset = static_cast<std::int64_t>(15 + fleet.random.Below(50));
  const std::int64_t vote = (onset + 9) / 10 * 10;
  const auto bit = static_cast<std::uint32_t>(fleet.random.Below(24));
  Verdicts verdicts;
  StepRow row;
  std::vector<float> low(fleet.Size());
  std::vector<float> high(fleet.Size());
  while (fleet.step.value < onset + 40) {
    fleet.step = fleet.step.Next();
    if (fleet.step.value % 10 != 0) continue;
    for (std::size_t r = 0; r < fleet.Size(); ++r) {
      Random hash(static_cast<std::uint64_t>(fleet.step.value) * 4099 +
                  places.ShardOf(r));
      auto bits = static_cast<std::uint32_t>(hash.Bits() >> 40U);
      if (r == bad && fleet.step.value >= onset) bits ^= 1U << bit;
      low[r] = static_cast<float>(bits);
      high[r] = static_cast<float>(hash.Bits() >> 40U);
    }
    fleet.Begin(&row);
    Fleet::Add("hash/params/lo", low, &row);
    Fleet::Add("hash/params/hi", high, &row);
    watch.ObserveRow(row, kNow, &verdicts);
  }
  ++score->trials;
  for (const Finding& finding : verdicts.findings) {
    if (finding.step.value == vote &&
        finding.culprit.rank.value == static_cast<std::int32_t>(bad) &&
        finding.rollback.below.value <= onset) {
      score->Found(static_cast<double>(vote - onset));
    } else {
      ++score->false_findings;
    }
  }
}

// Local gradient norms that spread by 5 %; one rank's is off by a factor in
// half of its steps.
void NormTrial(std::uint64_t seed, float low, float high, Score* score) {
  Fleet fleet(1024, seed, {.step = 0.05f, .pause_share = 0});
  IntegrityWatch watch{IntegrityOptions(), ParallelLayout()};
  watch.Begin(fleet.attempt, kNow);
  const std::size_t bad = fleet.random.Below(fleet.Size());
  const float factor = 1 + fleet.random.Uniform(low, high);
  constexpr std::int64_t kOnset = 100;
  Verdicts verdicts;
  StepRow row;
  while (fleet.step.value < kOnset + 100) {
    fleet.Draw();
    if (fleet.step.value >= kOnset && fleet.random.Uniform() < 0.5f) {
      fleet.compute[bad] *= factor;
    }
    fleet.Begin(&row);
    Fleet::Add("local_grad_norm", fleet.compute, &row);
    watch.ObserveRow(row, kNow, &verdicts);
  }
  ++score->trials;
  bool is_told = false;
  for (const Finding& finding : verdicts.findings) {
    if (finding.culprit.rank.value != static_cast<std::int32_t>(bad)) {
      ++score->false_findings;
    } else if (!std::exchange(is_told, true)) {
      score->Found(static_cast<double>(finding.step.value - kOnset + 1));
    }
  }
}

}  // namespace

void Corruption(const Seeds& seeds) {
  fmt::print("\ncorruption (1,024 ranks)\n");
  Score alike;
  Score sharded;
  Score large;
  Score small;
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    for (int trial = 0; trial < kTrials; ++trial) {
      const std::uint64_t mixed =
          seed * 1000 + static_cast<std::uint64_t>(trial);
      VoteTrial(mixed, {}, &alike);
      VoteTrial(mixed, {.tensor = 8, .pipeline = 8, .expert = 4}, &sharded);
    }
    for (int trial = 0; trial < 10; ++trial) {
      const std::uint64_t mixed =
          seed * 1000 + static_cast<std::uint64_t>(trial);
      NormTrial(mixed, 0.6f, 2.0f, &large);
      NormTrial(mixed, 0.03f, 0.30f, &small);
    }
  }
  alike.Print("one bit, 1,024 replicas, next vote");
  sharded.Print("one bit, 4 replicas a shard");
  large.Print("local norm 60-200 % off, named");
  small.Print("local norm 3-30 % off (invisible)");
}

}  // namespace steadyrun::bench
