#include "replay/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "replay/label_kinds.h"

namespace steadyrun::replay {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Label Fault(std::string kind, std::int64_t onset, std::int64_t end) {
  Label label;
  label.kind = std::move(kind);
  label.onset = Step{onset};
  label.end = Step{end};
  return label;
}
Label OfRank(std::string kind, std::int64_t onset, std::int32_t rank) {
  Label label = Fault(std::move(kind), onset, onset);
  label.ranks = {Rank{rank}};
  return label;
}
Alarm At(IncidentKind kind, std::int64_t step,
         std::vector<std::int32_t> ranks = {}) {
  Alarm alarm{.kind = kind, .step = Step{step}};
  for (std::int32_t rank : ranks) {
    alarm.suspects.push_back({NodeId(), Rank{rank}});
  }
  return alarm;
}
Score Judged(const std::vector<Alarm>& alarms, const std::vector<Label>& labels,
             const ScoreOptions& options = {}) {
  auto score = ScoreAlarms(alarms, labels, options);
  EXPECT_TRUE(score.ok()) << score.status();
  return score.ok() ? *score : Score();
}
std::vector<Judgement> Judgements(const Score& score) {
  std::vector<Judgement> all;
  for (const JudgedAlarm& alarm : score.alarms) all.push_back(alarm.judgement);
  return all;
}

TEST(ScoreTest, TheWindowBeginsAtTheOnsetAndEnds) {
  const std::vector<Label> labels = {Fault("loss_spike", 1000, 1010)};
  for (const auto& [step, judgement] : {std::pair{999, Judgement::kFalse},
                                        {1000, Judgement::kTrue},
                                        {1100, Judgement::kTrue},
                                        {1101, Judgement::kFalse}}) {
    const Score score = Judged({At(IncidentKind::kLossSpike, step)}, labels);
    EXPECT_EQ(score.alarms[0].judgement, judgement) << step;
    EXPECT_EQ(score.total.found, judgement == Judgement::kTrue ? 1 : 0);
  }
}

TEST(ScoreTest, StepsThatCountSamplesAreRows) {
  const std::vector<Label> labels = {Fault("loss_spike", 64'000, 70'000)};
  const std::vector<Alarm> alarms = {
      At(IncidentKind::kLossSpike, 64'000 + 64 * 30)};
  EXPECT_EQ(Judged(alarms, labels).total.found, 0);
  const Score score = Judged(alarms, labels, {.step_stride = 64});
  EXPECT_EQ(score.total.found, 1);
  EXPECT_THAT(score.total.delay_steps, ElementsAre(30));
}

TEST(ScoreTest, OneFaultIsOneFinding) {
  const Score score = Judged(
      {At(IncidentKind::kLossSpike, 105), At(IncidentKind::kLossSpike, 103),
       At(IncidentKind::kGradExplosion, 104), At(IncidentKind::kStraggler, 104),
       At(IncidentKind::kLossSpike, 350)},
      {Fault("loss_spike", 100, 400)});
  EXPECT_THAT(
      Judgements(score),
      ElementsAre(Judgement::kDuplicate, Judgement::kTrue, Judgement::kRelated,
                  Judgement::kFalse, Judgement::kDuplicate));
  EXPECT_EQ(score.total.true_alarms, 1);
  EXPECT_EQ(score.total.false_alarms, 1);
  EXPECT_EQ(score.total.merged, 3);
  EXPECT_EQ(score.classes.at("straggler").false_alarms, 1);
  EXPECT_DOUBLE_EQ(score.total.Precision().Value(), 0.5);
  EXPECT_DOUBLE_EQ(score.total.Recall().Value(), 1);
  EXPECT_NEAR(score.total.F1(), 2.0 / 3, 1e-12);
}

TEST(ScoreTest, ALateFindingMissesTheFaultAndIsFalse) {
  const Score score =
      Judged({At(IncidentKind::kStraggler, 500)},
             {Fault("straggler_last_stage (3 of 4)", 23, 1048)});
  EXPECT_EQ(score.total.found, 0);
  EXPECT_EQ(score.total.labels, 1);
  EXPECT_EQ(score.total.false_alarms, 1);
  EXPECT_EQ(score.total.F1(), 0);
}

TEST(ScoreTest, WhereAPersonFoundNothingEveryFindingIsFalse) {
  const Score score = Judged(
      {At(IncidentKind::kSlowdown, 50), At(IncidentKind::kGradExplosion, 200),
       At(IncidentKind::kGradExplosion, 300)},
      {Fault("benign_pause", 50, 50), Fault("grad_norm_spike_single", 200, 200),
       Fault("unclear", 290, 310)});
  EXPECT_THAT(Judgements(score),
              ElementsAre(Judgement::kFalse, Judgement::kOptional,
                          Judgement::kOptional));
  EXPECT_EQ(score.total.labels, 0);
}

TEST(ScoreTest, AFindingGoesToTheFaultWhoseCulpritItNames) {
  const Score score =
      Judged({At(IncidentKind::kStraggler, 120, {9}),
              At(IncidentKind::kStraggler, 130, {7, 3})},
             {OfRank("straggler", 100, 3), OfRank("straggler", 110, 9)});
  EXPECT_THAT(score.label_found, ElementsAre(true, true));
  EXPECT_EQ(score.alarms[0].label, 1);
  EXPECT_EQ(score.alarms[1].label, 0);
  EXPECT_EQ(score.total.Top1().hits, 1);
  EXPECT_EQ(score.total.Top3().hits, 2);
  EXPECT_EQ(score.total.placed, 2);
}

TEST(ScoreTest, AHealthyRankNamedBesideTheRightOneIsAFalseAlarm) {
  const Score score = Judged({At(IncidentKind::kStraggler, 110, {5}),
                              At(IncidentKind::kStraggler, 130, {3})},
                             {OfRank("straggler", 100, 3)});
  EXPECT_THAT(Judgements(score),
              ElementsAre(Judgement::kFalse, Judgement::kTrue));
  EXPECT_THAT(score.total.delay_steps, ElementsAre(30));
  // Alone it finds the fault, but not its place.
  const Score alone = Judged({At(IncidentKind::kStraggler, 110, {5})},
                             {OfRank("straggler", 100, 3)});
  EXPECT_EQ(alone.total.found, 1);
  EXPECT_EQ(alone.total.three_right, 0);
}

TEST(ScoreTest, ANodeIsAPlaceToo) {
  Label label = Fault("node_lost", 10, 10);
  label.node = "node-b";
  Alarm alarm = At(IncidentKind::kNodeLost, 12);
  alarm.suspects = {{"node-b", kNoRank}};
  EXPECT_EQ(Judged({alarm}, {label}).total.first_right, 1);
}

TEST(ScoreTest, WindowsInSecondsAreMeasuredByTheClockWhereItIsKnown) {
  Label label = Fault("crash", 100, 100);
  Alarm alarm = At(IncidentKind::kCrash, 100);
  label.onset_seconds = 1000;
  for (const auto& [seconds, found] : {std::pair{1029.0, 1}, {1031.0, 0}}) {
    alarm.seconds = seconds;
    EXPECT_EQ(Judged({alarm}, {label}).total.found, found) << seconds;
  }
  // Without a clock 30 s are three steps of 10 s.
  label.onset_seconds.reset();
  for (const auto& [step, found] : {std::pair{103, 1}, {104, 0}}) {
    alarm.step = Step{step};
    EXPECT_EQ(Judged({alarm}, {label}, {.step_seconds = 10}).total.found, found)
        << step;
  }
}

TEST(ScoreTest, StepsThatAreMadeAgainAreAnotherAttempt) {
  Label label = Fault("loss_spike", 100, 110);
  label.attempt = AttemptId{1};
  Alarm alarm = At(IncidentKind::kLossSpike, 105);
  alarm.attempt = AttemptId{2};
  EXPECT_EQ(Judged({alarm}, {label}).total.false_alarms, 1);
  alarm.attempt = AttemptId{1};
  EXPECT_EQ(Judged({alarm}, {label}).total.found, 1);
  label.attempt = kNoAttempt;
  alarm.attempt = AttemptId{2};
  EXPECT_EQ(Judged({alarm}, {label}).total.found, 1);
}

TEST(ScoreTest, OverlappingFaultsAreFoundTogether) {
  const Score score =
      Judged({At(IncidentKind::kEntropyCollapse, 12)},
             {Fault("rl_collapse", 7, 12), Fault("dead_policy", 12, 261)});
  EXPECT_EQ(score.total.found, 2);
  EXPECT_EQ(score.total.true_alarms, 1);
}

TEST(ScoreTest, OnlyWhatAsksForEnoughIsJudged) {
  Alarm quiet = At(IncidentKind::kLossSpike, 500);
  quiet.advice = Advice::kRecord;
  Alarm loud = At(IncidentKind::kLossSpike, 900);
  loud.advice = Advice::kRollback;
  EXPECT_EQ(Judged({quiet, loud}, {}).total.false_alarms, 2);
  EXPECT_EQ(Judged({quiet, loud}, {}, {.least = Advice::kReplaceNode})
                .total.false_alarms,
            1);
}

TEST(ScoreTest, ScoresOfRunsAddUp) {
  Score sum = Judged({At(IncidentKind::kLossSpike, 105)},
                     {Fault("loss_spike", 100, 110)});
  sum.Add(Judged({At(IncidentKind::kLossSpike, 5)},
                 {Fault("loss_spike", 100, 110)}));
  EXPECT_EQ(sum.total.labels, 2);
  EXPECT_EQ(sum.total.found, 1);
  EXPECT_EQ(sum.total.false_alarms, 1);
  EXPECT_EQ(sum.classes.at("loss_spike").labels, 2);
}

TEST(ScoreTest, IntervalsAreWilsons) {
  // Values of the closed form, computed apart from this code.
  const Share share{.hits = 19, .of = 20};
  EXPECT_NEAR(share.Low(), 0.763869, 1e-5);
  EXPECT_NEAR(share.High(), 0.991119, 1e-5);
  EXPECT_NEAR((Share{10, 10}.Low()), 0.722467, 1e-5);
  EXPECT_DOUBLE_EQ((Share{10, 10}.High()), 1);
  EXPECT_TRUE(std::isnan(Share{}.Value()));
  EXPECT_TRUE(std::isnan(Share{}.Low()));
}

TEST(ScoreTest, AMistypedKindIsNamedWithTheNearestRightOne) {
  const auto score = ScoreAlarms({}, {Fault("los_spike", 1, 1)}, {});
  EXPECT_THAT(std::string(score.status().message()),
              HasSubstr("did you mean 'loss_spike'?"));
  EXPECT_FALSE(ScoreAlarms({}, {Label{.kind = "nan"}}, {}).ok());
}

TEST(ScoreTest, EveryWordOfAnIncidentKindIsALabel) {
  for (std::size_t i = 0; i < kIncidentKinds; ++i) {
    const auto kind = static_cast<IncidentKind>(i);
    const auto found = ClassOfLabel(IncidentKindName(kind));
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->kinds.front(), kind);
    EXPECT_GT(found->window.steps + found->window.seconds, 0);
  }
}

}  // namespace
}  // namespace steadyrun::replay
