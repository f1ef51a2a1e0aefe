// Goal: no healthy run is ever disturbed. Method: seeded histories of runs with
// noisy step times, pauses of the machine, declared phases up to ten times as
// long as usual, slow first steps, missing heartbeats and restarted agents;
// every detector is asked ten times a second and must stay silent.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/detect/training_rig.h"

namespace steadyrun {
namespace {

using testing::IsEmpty;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  double Uniform() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 11) * 0x1.0p-53;
  }
  double Normal() {  // Irwin-Hall; light tails are added by the caller.
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += Uniform();
    return sum;
  }
  bool Chance(double p) { return Uniform() < p; }

 private:
  std::uint64_t state_;
};

// One run; the step's usual length is drawn from 50 ms to 20 s.
void TrainHealthily(std::uint64_t seed, TrainingRig& rig) {
  Random random(seed);
  const double usual = 0.05 * std::pow(400, random.Uniform());
  rig.Pass(FromSeconds(10 + 400 * random.Uniform()));  // Slow first step.
  rig.CompleteStep(usual * 20);
  const int steps = usual > 2 ? 80 : 250;
  for (int i = 0; i < steps; ++i) {
    double seconds = usual * std::exp(0.15 * random.Normal());
    if (random.Chance(0.02)) seconds += 3 * random.Uniform();  // Machine busy.
    // A node's heartbeats stall for up to 2 s while training goes on.
    if (random.Chance(0.02)) {
      rig.cut = {TrainingRig::NodeName(random.Chance(0.5) ? 0 : 1)};
      rig.Pass(FromSeconds(std::min(seconds, 2.0)));
      rig.cut.clear();
      seconds = std::max(0.0, seconds - 2);
    }
    rig.MakeStep(FromSeconds(seconds));
    if (random.Chance(0.03)) {
      const Phase phases[] = {Phase::kCheckpoint, Phase::kEvaluation,
                              Phase::kCompile};
      const Phase phase = phases[static_cast<int>(random.Uniform() * 3)];
      // Usually 10 s, now and then ten times as long.
      rig.EnterPhase(phase);
      rig.Pass(FromSeconds(10 * (random.Chance(0.2) ? 10 : 1)));
      rig.EnterPhase(Phase::kStep);
    }
  }
}

TEST(HealthyRunTest, ProducesNoFindingInAnyOfManySeededHistories) {
  std::int64_t steps = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    TrainingRig rig;
    TrainHealthily(seed, rig);
    ASSERT_THAT(rig.findings, IsEmpty())
        << "seed " << seed << " at step " << rig.step.value << "\n"
        << rig.Story();
    steps += rig.step.value;
  }
  EXPECT_GT(steps, 12000);
}

// The same histories, each ended by a hang: quiet is not enough, it must hear.
TEST(HealthyRunTest, EachOfTheseHistoriesEndedByAHangIsNoticed) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    TrainingRig rig;
    TrainHealthily(seed, rig);
    const double median = rig.watch.Hang().MedianStepSeconds();
    rig.frozen = {3};
    rig.EnterPhase(Phase::kBackward);

    const auto took = rig.PassUntilFound(std::chrono::hours(1));

    ASSERT_TRUE(took.has_value()) << "seed " << seed;
    ASSERT_EQ(rig.findings.front().kind, IncidentKind::kHang);
    ASSERT_EQ(rig.findings.front().culprit, (Culprit{"n1", Rank{3}}))
        << rig.Story();
    ASSERT_LE(ToSeconds(*took), 15 + 12 * median) << "seed " << seed;
  }
}

}  // namespace
}  // namespace steadyrun
