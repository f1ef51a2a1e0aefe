// The detectors over the shared real curves, against their labels.

#include "tests/unit/curve/real_curves.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "server/detect/curve/curve_watch.h"

namespace steadyrun {
namespace {

class RealCurvesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = RealCurvesFolder();
    if (folder_.empty()) {
      GTEST_SKIP() << "no real curves: set STEADYRUN_DATA to the folder that "
                      "holds curves/";
    }
  }

  Verdicts Run(const std::string& name) const {
    const RealCurve curve = ReadCurve(folder_, name);
    CurveWatch watch{CurveOptions()};
    WatchedAttempt attempt;
    attempt.run = name;
    attempt.attempt = AttemptId{1};
    watch.Begin(attempt, Now());
    Verdicts verdicts;
    for (std::size_t i = 0; i < curve.steps.size(); ++i) {
      watch.ObservePoint(curve.Point(i), Now(), &verdicts);
    }
    return verdicts;
  }

  bool HasKind(const std::string& name, IncidentKind kind) const {
    return std::ranges::any_of(
        Run(name).findings, [&](const Finding& f) { return f.kind == kind; });
  }

  std::filesystem::path folder_;
};

bool IsHealthy(const std::vector<CurveLabel>& labels) {
  return std::ranges::all_of(labels, [](const CurveLabel& label) {
    return label.kind == "healthy" || label.kind.starts_with("benign") ||
           label.kind.starts_with("step_time") || label.kind == "slow_step" ||
           label.kind == "grad_norm_spike_single";
  });
}

TEST_F(RealCurvesTest, HealthyCurvesRaiseNothing) {
  std::size_t points = 0;
  for (const std::string& name : RealCurveNames(folder_)) {
    if (!IsHealthy(ReadLabels(folder_, name))) continue;
    points += ReadCurve(folder_, name).steps.size();
    for (const Finding& finding : Run(name).findings) {
      ADD_FAILURE() << name << ": " << finding.reason;
    }
  }
  EXPECT_GT(points, 100'000u);
}

// A label begins where the loss is 3.5 % above its trend; the detectors may see
// it up to 16 points (of 64 samples) before.
constexpr std::int64_t kSooner = 16 * 64;

bool IsWithin(const Finding& finding, const CurveLabel& label) {
  return finding.step.value >= label.start - kSooner &&
         finding.step.value <= label.end;
}

// All labelled loss spikes came back by themselves: each is to be found within
// its label, none may ask for an action, and next to nothing may be told
// outside of the labels.
TEST_F(RealCurvesTest, LossSpikesAreFoundAndNoneAsksForAnAction) {
  int labelled = 0;
  int found = 0;
  int outside = 0;
  for (const std::string& name : RealCurveNames(folder_)) {
    if (!name.starts_with("mlp51-")) continue;
    std::vector<CurveLabel> spikes = ReadLabels(folder_, name);
    std::erase_if(spikes,
                  [](const CurveLabel& l) { return l.kind != "loss_spike"; });
    labelled += static_cast<int>(spikes.size());
    const Verdicts verdicts = Run(name);
    for (const Finding& finding : verdicts.findings) {
      EXPECT_LE(finding.advice, Advice::kReport) << name << finding.reason;
      const bool is_inside = std::ranges::any_of(
          spikes, [&](const auto& l) { return IsWithin(finding, l); });
      outside += is_inside ? 0 : 1;
    }
    for (const CurveLabel& label : spikes) {
      found += std::ranges::any_of(verdicts.findings, [&](const Finding& f) {
        return f.kind == IncidentKind::kLossSpike && IsWithin(f, label);
      });
    }
  }
  EXPECT_GE(labelled, 16);
  EXPECT_GE(found, labelled - 1);
  EXPECT_LE(outside, 1);
}

TEST_F(RealCurvesTest, TheCollapsedPolicyIsFoundWhenItDies) {
  const Verdicts verdicts = Run("rl-jhc-i80f2v90");
  const auto entropy = std::ranges::find(
      verdicts.findings, IncidentKind::kEntropyCollapse, &Finding::kind);
  ASSERT_NE(entropy, verdicts.findings.end());
  EXPECT_LE(entropy->step, Step{13});  // 250 wasted steps were still to come.
  EXPECT_TRUE(HasKind("rl-jhc-i80f2v90", IncidentKind::kRewardHacking));
}

TEST_F(RealCurvesTest, ResponsesThatRunIntoTheirLimitForNothingAreFound) {
  EXPECT_TRUE(HasKind("rl-jhc-yeu8r64c", IncidentKind::kLengthExplosion));
}

TEST_F(RealCurvesTest, TheLossScaleOfTr1CollapsesBeforeTheTeamRolledBack) {
  EXPECT_TRUE(HasKind("bigsci-tr1-13b-chronicle", IncidentKind::kLossScale));
}

}  // namespace
}  // namespace steadyrun
