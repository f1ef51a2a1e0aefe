// The detectors of reinforcement learning, with the frameworks' own names.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/unit/curve/curve_feed.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Named = CurveFeed::Named;

void Feed(CurveFeed* feed, std::int64_t points,
          const std::function<Named(std::int64_t)>& metrics) {
  for (std::int64_t i = 0; i < points; ++i) feed->Metrics(metrics(i));
}

double D(std::int64_t i) { return static_cast<double>(i); }

TEST(KlBlowupTest, NeedsASecondWitness) {
  for (const bool is_clipping : {false, true}) {
    CurveFeed feed;
    const auto metrics = [&](double kl, double clip, std::int64_t i) {
      return Named{{"critic/kl", kl + 0.005 * Wiggle(i)},
                   {"actor/pg_clipfrac", clip},
                   {"critic/score/mean", 0.5 + 0.02 * Wiggle(i * 3)}};
    };
    Feed(&feed, 150, [&](auto i) { return metrics(0.05, 0.004, i); });
    Feed(&feed, 10, [&](auto i) {
      return metrics(0.05 + 0.2 * D(i + 1), is_clipping ? 0.05 : 0.004, i);
    });
    Feed(&feed, 40, [&](auto i) { return metrics(0.05, 0.004, i); });
    const int expected = is_clipping ? 1 : 0;
    ASSERT_THAT(feed.Of(IncidentKind::kKlBlowup), SizeIs(expected));
    EXPECT_EQ(feed.Cleared(IncidentKind::kKlBlowup), expected);
    if (!is_clipping) continue;
    EXPECT_EQ(feed.verdicts.findings[0].onset_step, Step{150});
    EXPECT_EQ(feed.verdicts.findings[0].advice, Advice::kReport);
  }
}

TEST(KlBlowupTest, TheUpdatesKlIsJudgedWhereThereIsNoReference) {
  CurveFeed feed;
  const auto metrics = [](double kl, double reward, std::int64_t i) {
    return Named{{"ppo_kl", kl * (i % 2 == 0 ? 1 : -1)},
                 {"reward", reward + 0.02 * Wiggle(i)}};
  };
  Feed(&feed, 150, [&](auto i) { return metrics(1e-4, 0.5, i); });
  Feed(&feed, 5, [&](auto i) { return metrics(0.3, -1, i); });
  EXPECT_THAT(feed.Of(IncidentKind::kKlBlowup), SizeIs(1));
}

// TRL's names. The entropy falls to a tenth within 20 points.
void FeedEntropy(CurveFeed* feed, double reward_slope) {
  Feed(feed, 80, [&](auto i) {
    const double fall = i < 40 ? 0 : std::min(D(i - 40) / 20, 1.0);
    return Named{
        {"entropy", 0.3 * std::pow(0.1, fall) * (1 + 0.02 * Wiggle(i))},
        {"reward", 0.5 + reward_slope * D(i) + 0.01 * Wiggle(i * 5)}};
  });
}

TEST(EntropyCollapseTest, AFallThatBuysNothingIsACollapse) {
  CurveFeed feed;
  FeedEntropy(&feed, 0);
  ASSERT_THAT(feed.Of(IncidentKind::kEntropyCollapse), SizeIs(1));
  EXPECT_LE(feed.Of(IncidentKind::kEntropyCollapse)[0].step, Step{60});
  Feed(&feed, 30, [](auto i) {
    return Named{{"entropy", 0.3}, {"reward", 0.5 + 0.01 * Wiggle(i)}};
  });
  EXPECT_EQ(feed.Cleared(IncidentKind::kEntropyCollapse), 1);
}

TEST(EntropyCollapseTest, AFallThatIsPaidForIsNone) {
  CurveFeed feed;
  FeedEntropy(&feed, 0.01);
  EXPECT_THAT(feed.Of(IncidentKind::kEntropyCollapse), IsEmpty());
}

TEST(RewardCollapseTest, AFallThatStaysIsFoundAndASingleBadBatchIsNot) {
  CurveFeed feed;
  const auto metrics = [](double score, std::int64_t i) {
    return Named{{"grpo/score/mean", score + 0.03 * Wiggle(i)}};
  };
  Feed(&feed, 150, [&](auto i) { return metrics(i % 30 == 9 ? 0 : 0.6, i); });
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
  Feed(&feed, 40, [&](auto i) { return metrics(0.3, i); });
  ASSERT_THAT(feed.Of(IncidentKind::kRewardCollapse), SizeIs(1));
  EXPECT_LE(feed.verdicts.findings[0].step, Step{180});
  EXPECT_GE(feed.verdicts.findings[0].onset_step, Step{140});
  Feed(&feed, 120, [&](auto i) { return metrics(0.62, i); });
  EXPECT_EQ(feed.Cleared(IncidentKind::kRewardCollapse), 1);
}

Named Learning(std::int64_t i, double eval_slope) {
  Named metrics{{"critic/rewards/mean", 0.1 + 0.01 * D(i)},
                {"actor/kl_loss", 0.01 + 0.002 * D(i)},
                {"response_length/mean", 500 + 10 * D(i)}};
  if (i % 10 == 0) {
    metrics.push_back({"val-core/gsm8k/acc/mean@1", 0.6 + eval_slope * D(i)});
  }
  return metrics;
}

TEST(RewardHackingTest, NeedsAFallingHeldOutScore) {
  CurveFeed healthy;
  Feed(&healthy, 80, [](auto i) { return Learning(i, 0.001); });
  EXPECT_THAT(healthy.verdicts.findings, IsEmpty());
  CurveFeed hacked;
  Feed(&hacked, 80, [](auto i) { return Learning(i, -0.005); });
  ASSERT_THAT(hacked.Of(IncidentKind::kRewardHacking), SizeIs(1));
  EXPECT_EQ(hacked.verdicts.findings[0].advice, Advice::kReport);
}

void FeedLength(CurveFeed* feed, double score_slope) {
  Feed(feed, 100, [&](auto i) {
    const double clip = i < 50 ? 0.02 : 0.02 + 0.02 * D(i - 50);
    return Named{
        {"response_length/clip_ratio", clip},
        {"critic/score/mean", 0.4 + score_slope * D(i) + 0.01 * Wiggle(i)}};
  });
}

TEST(LengthExplosionTest, LongAnswersThatAreNotPaidForAreFound) {
  CurveFeed feed;
  FeedLength(&feed, -0.001);
  ASSERT_THAT(feed.Of(IncidentKind::kLengthExplosion), SizeIs(1));
  EXPECT_LE(feed.verdicts.findings[0].step, Step{70});
  CurveFeed paid;
  FeedLength(&paid, 0.002);
  EXPECT_THAT(paid.Of(IncidentKind::kLengthExplosion), IsEmpty());
}

TEST(RolloutMismatchTest, LimitsHoldFromTheFirstStepAndNameWhatPassedThem) {
  CurveFeed feed;
  Feed(&feed, 5, [](auto) {
    return Named{{"rollout_corr/kl", -0.2},
                 {"rollout_corr/rollout_is_eff_sample_size", 0.1}};
  });
  ASSERT_THAT(feed.verdicts.findings, SizeIs(1));
  EXPECT_EQ(feed.verdicts.findings[0].kind, IncidentKind::kRolloutMismatch);
  EXPECT_THAT(feed.verdicts.findings[0].evidence, SizeIs(2));
  EXPECT_THAT(feed.verdicts.findings[0].reason, HasSubstr("KL"));
  Feed(&feed, 25, [](auto) { return Named{{"rollout_corr/kl", 1e-3}}; });
  EXPECT_EQ(feed.Cleared(IncidentKind::kRolloutMismatch), 1);
}

TEST(RolloutMismatchTest, AJumpOfTheDifferenceIsFoundBelowEveryLimit) {
  CurveFeed feed;
  const auto metrics = [](double d) {
    return Named{{"training/rollout_probs_diff_mean", d}};
  };
  Feed(&feed, 100, [&](auto i) { return metrics(2e-3 + 2e-4 * Wiggle(i)); });
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
  Feed(&feed, 5, [&](auto) { return metrics(0.03); });
  EXPECT_THAT(feed.verdicts.findings, SizeIs(1));
}

TEST(MetricAliasesTest, KnowTheFrameworksNames) {
  const std::pair<const char*, Signal> cases[] = {
      {"critic/kl", Signal::kReferenceKl},  // verl
      {"kl", Signal::kReferenceKl},         // TRL, OpenRLHF
      {"train/kl", Signal::kReferenceKl},   // TRL in TensorBoard
      {"actor/ppo_kl", Signal::kUpdateKl},  // verl, MindSpeed-RL
      {"grpo/score/mean", Signal::kScore},  // MindSpeed-RL
      {"vllm_kl", Signal::kMismatchKl},     // OpenRLHF
      {"frac_reward_zero_std", Signal::kRewardZeroStd},
      {"completions/clipped_ratio", Signal::kLengthClip},
      {"val-aux/aime_2024/reward/mean@16", Signal::kEval},
  };
  for (const auto& [name, signal] : cases) {
    AliasMatch match{};
    EXPECT_TRUE(FindAlias(name, &match)) << name;
    EXPECT_EQ(match.signal, signal) << name;
  }
  AliasMatch match{};
  for (const char* name : {"", "loss", "val-aux/aime_2024/reward/std@16",
                           "val-aux/aime_2024/reward/best@4/mean",
                           "val-aux/aime_2024/reward/best@4/std"}) {
    EXPECT_FALSE(FindAlias(name, &match)) << name;
  }
}

TEST(MetricAliasesTest, TheBestReportedNameIsTaken) {
  SignalReader reader;
  const std::vector<std::string> names = {"actor/kl_loss", "critic/kl", "x"};
  const double nan = std::nan("");
  EXPECT_EQ(
      reader.Read(names, std::vector<double>{1, 2, 3})[Signal::kReferenceKl],
      2);
  EXPECT_EQ(
      reader.Read(names, std::vector<double>{1, nan, 3})[Signal::kReferenceKl],
      1);
  EXPECT_FALSE(reader.Read(names, std::vector<double>{nan, nan, 3})
                   .Has(Signal::kReferenceKl));
  const std::vector<std::string> others = {"entropy"};
  EXPECT_EQ(reader.Read(others, std::vector<double>{7})[Signal::kEntropy], 7);
}

// A policy-gradient loss has no level to fall to.
TEST(CurveWatchTest, TheLossOfReinforcementLearningIsNotJudged) {
  CurveFeed feed;
  const std::vector<std::string> names = {"reward"};
  for (std::int64_t i = 0; i < 600; ++i) {
    const std::vector<double> values = {0.5 + 0.01 * Wiggle(i)};
    CurvePoint point;
    point.loss = i < 300 ? 0.01 * Wiggle(i) : 1.0;
    point.names = names;
    point.values = values;
    feed.Point(point);
  }
  EXPECT_THAT(feed.verdicts.findings, IsEmpty());
}

}  // namespace
}  // namespace steadyrun
