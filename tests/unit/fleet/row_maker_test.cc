#include "fleet/sim/row_maker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/robust_stats.h"

namespace steadyrun::fleet {
namespace {

constexpr std::int32_t kRanks = 64;

std::vector<double> ColumnOf(const StepRow& row, Metric metric) {
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    if (row.metrics[m] != static_cast<std::uint32_t>(metric)) continue;
    const auto begin = row.values.begin() +
                       static_cast<std::ptrdiff_t>(m * std::size_t{kRanks});
    return {begin, begin + kRanks};
  }
  return {};
}

std::vector<double> Named(const StepRow& row, const std::string& name) {
  const auto it = std::ranges::find(row.names, name);
  if (it == row.names.end()) return {};
  return ColumnOf(row, static_cast<Metric>(
                           kFirstNamedMetric +
                           static_cast<std::uint32_t>(it - row.names.begin())));
}

double MedianOf(const StepRow& row, Metric metric) {
  return Median(ColumnOf(row, metric));
}

class RowMakerTest : public testing::Test {
 protected:
  StepRow Make(std::int64_t step, std::vector<Fault> faults = {}) {
    std::vector<const Fault*> active;
    for (const Fault& fault : faults) active.push_back(&fault);
    StepRow row;
    seconds_ = maker_.Make({AttemptId{1}, Step{step}, 100, 0, active}, &row);
    return row;
  }
  static Fault At(FaultKind kind, std::int64_t onset, double severity,
                  std::int64_t steps = 50) {
    Fault fault;
    fault.kind = kind;
    fault.onset = Step{onset};
    fault.severity = severity;
    fault.steps = steps;
    fault.rank = Rank{16};
    fault.ranks = 8;
    return fault;
  }

  FleetProfile profile_ = HealthyProfile();
  RowMaker maker_{profile_, kRanks, 42};
  double seconds_ = 0;
};

TEST_F(RowMakerTest, IsAFunctionOfSeedAndStep) {
  const StepRow first = Make(40);
  Make(7);
  const StepRow again = Make(40);
  ASSERT_EQ(first.values.size(), again.values.size());
  EXPECT_EQ(std::memcmp(first.values.data(), again.values.data(),
                        first.values.size() * sizeof(float)),
            0);
  EXPECT_EQ(first.names, again.names);
  RowMaker other(profile_, kRanks, 43);
  StepRow row;
  other.Make({AttemptId{1}, Step{40}, 100, 0, {}}, &row);
  EXPECT_NE(std::memcmp(first.values.data(), row.values.data(),
                        first.values.size() * sizeof(float)),
            0);
}

TEST_F(RowMakerTest, NoiseIsWhatTheProfileSays) {
  std::vector<double> compute;
  std::vector<double> jumps;
  double before = NAN;
  for (std::int64_t step = 3000; step < 3400; ++step) {
    const StepRow row = Make(step);
    const auto column = ColumnOf(row, Metric::kComputeSeconds);
    const auto tokens = ColumnOf(row, Metric::kTokens);
    const auto squares = Named(row, kSumSquaredLengths);
    for (int r = 0; r < kRanks; ++r) {
      const double work =
          0.75 * tokens[r] / 16384 + 0.25 * squares[r] / (16384.0 * 2048);
      compute.push_back(std::log(column[r] / work));
    }
    const double loss = MedianOf(row, Metric::kLoss);
    if (!std::isnan(before)) jumps.push_back(std::log(loss / before));
    before = loss;
  }
  // Given the work, 1 % noise and 0.5 % bias remain: 1.1 % together.
  const double center = Median(compute);
  EXPECT_NEAR(MadInPlace(compute, center), 0.0112, 0.0015);
  // White noise of 1.2 %, whose differences deviate by the root of two more.
  EXPECT_NEAR(MadInPlace(jumps, 0), 0.012 * std::sqrt(2), 0.004);
}

TEST_F(RowMakerTest, StragglersAreSlowAndAllWait) {
  Make(500);
  const double healthy = seconds_;
  const StepRow row = Make(500, {At(FaultKind::kStraggler, 490, 0.6)});
  const auto compute = ColumnOf(row, Metric::kComputeSeconds);
  const double slow =
      Median(std::vector<double>(compute.begin() + 16, compute.begin() + 24));
  EXPECT_NEAR(slow / Median(compute), 1.6, 0.15);
  EXPECT_GT(seconds_, healthy * 1.1);
  EXPECT_NEAR(MedianOf(row, Metric::kStepSeconds), seconds_, 1e-3);
}

TEST_F(RowMakerTest, SlowdownsAndStallsTakeTime) {
  Make(500);
  const double healthy = seconds_;
  Make(500, {At(FaultKind::kSlowdown, 490, 0.3)});
  EXPECT_NEAR(seconds_ / healthy, 1.3, 0.01);
  const StepRow row = Make(500, {At(FaultKind::kDataStall, 490, 1.0)});
  EXPECT_GT(ColumnOf(row, Metric::kDataSeconds)[16], 10);
  EXPECT_LT(ColumnOf(row, Metric::kDataSeconds)[15], 1);
}

TEST_F(RowMakerTest, NanBeginsWithOneRankAndReachesAll) {
  const Fault fault = At(FaultKind::kNan, 500, 0);
  const auto first = ColumnOf(Make(500, {fault}), Metric::kLoss);
  EXPECT_TRUE(std::isnan(first[16]));
  EXPECT_EQ(std::ranges::count_if(first, [](double x) { return x != x; }), 1);
  const auto next = ColumnOf(Make(501, {fault}), Metric::kLoss);
  EXPECT_EQ(std::ranges::count_if(next, [](double x) { return x != x; }),
            kRanks);
}

TEST_F(RowMakerTest, SpikesComeBackOrNot) {
  const double base = MedianOf(Make(520), Metric::kLoss);
  const auto loss = [&](FaultKind kind, std::int64_t step) {
    return MedianOf(Make(step, {At(kind, 500, 2, 20)}), Metric::kLoss) - base;
  };
  EXPECT_GT(loss(FaultKind::kSpikeBenign, 504), 1);
  EXPECT_LT(loss(FaultKind::kSpikeBenign, 540), 0.3);
  EXPECT_GT(loss(FaultKind::kSpikeMalignant, 508), 1);
  EXPECT_GT(loss(FaultKind::kSpikeMalignant, 600), 1);
  EXPECT_NEAR(loss(FaultKind::kDivergence, 650), 1, 0.6);
  // The gradient leads.
  const Fault spike = At(FaultKind::kSpikeMalignant, 500, 2);
  EXPECT_GT(MedianOf(Make(501, {spike}), Metric::kGradNorm),
            4 * MedianOf(Make(501), Metric::kGradNorm));
}

TEST_F(RowMakerTest, HashesAreEqualButForTheCorruptRank) {
  EXPECT_TRUE(Named(Make(501), kHashLow).empty());
  const auto equal = Named(Make(500), kHashLow);
  ASSERT_EQ(equal.size(), std::size_t{kRanks});
  EXPECT_EQ(std::ranges::count(equal, equal[0]), kRanks);
  EXPECT_EQ(equal[0], std::floor(equal[0]));
  Fault fault = At(FaultKind::kCorruption, 480, 0);
  fault.ranks = 1;
  const auto low = Named(Make(500, {fault}), kHashLow);
  EXPECT_EQ(std::ranges::count(low, low[0]), kRanks - 1);
  EXPECT_NE(low[16], low[0]);
}

TEST_F(RowMakerTest, RlSignalsMoveAsTheirFaultSays) {
  profile_.curve.is_rl = true;
  RowMaker maker(profile_, kRanks, 1);
  const auto value = [&](const char* name, const Fault* fault) {
    StepRow row;
    std::vector<const Fault*> active;
    if (fault != nullptr) active.push_back(fault);
    maker.Make({AttemptId{1}, Step{540}, 100, 0, active}, &row);
    return Named(row, name)[0];
  };
  const std::pair<FaultKind, const char*> up[] = {
      {FaultKind::kKlBlowup, "actor/ppo_kl"},
      {FaultKind::kLengthExplosion, "response_length/clip_ratio"},
      {FaultKind::kRolloutMismatch, "rollout_corr/kl"},
      {FaultKind::kGenerationStall, "timing_s/gen"}};
  for (const auto& [kind, name] : up) {
    const Fault fault = At(kind, 500, 4);
    EXPECT_GT(value(name, &fault), 2 * value(name, nullptr)) << name;
  }
  const std::pair<FaultKind, const char*> down[] = {
      {FaultKind::kEntropyCollapse, "actor/entropy"},
      {FaultKind::kRewardCollapse, "critic/score/mean"}};
  for (const auto& [kind, name] : down) {
    const Fault fault = At(kind, 500, 1);
    EXPECT_LT(value(name, &fault), 0.5 * value(name, nullptr)) << name;
  }
}

}  // namespace
}  // namespace steadyrun::fleet
