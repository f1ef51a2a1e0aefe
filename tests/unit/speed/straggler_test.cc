#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "server/detect/speed/speed_watch.h"
#include "tests/unit/speed/step_rig.h"

namespace steadyrun {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Bend = std::function<void(Step, std::vector<float>&)>;

// `steps` rows of compute time around 1 s, bent by the test.
class StragglerTest : public testing::Test {
 protected:
  void Start(std::size_t ranks, const ParallelLayout& layout = {},
             std::uint64_t seed = 1) {
    watch_.emplace(SpeedOptions(), layout);
    watch_->Begin(RigAttempt(ranks), kRigNow);
    rows_.emplace(ranks);
    noise_.emplace(ranks, seed);
  }
  void Run(int steps, const Bend& bend = nullptr) {
    for (int i = 0; i < steps; ++i) {
      std::vector<float> compute = noise_->Step(1.0);
      if (bend) bend(rows_->step, compute);
      rows_->Set(Metric::kComputeSeconds, std::move(compute));
      Feed();
    }
  }
  void Feed() { watch_->ObserveRow(rows_->Take(), kRigNow, &verdicts_); }

  const Finding* First(Advice advice) const {
    for (const Finding& finding : verdicts_.findings) {
      if (finding.kind == IncidentKind::kStraggler &&
          finding.advice == advice) {
        return &finding;
      }
    }
    return nullptr;
  }

  std::optional<SpeedWatch> watch_;
  std::optional<RowMaker> rows_;
  std::optional<ComputeNoise> noise_;
  Verdicts verdicts_;
};

Bend Slow(std::vector<std::size_t> ranks, float factor, std::int64_t from,
          std::int64_t to = 1 << 30) {
  return [=](Step step, std::vector<float>& compute) {
    if (step.value < from || step.value >= to) return;
    for (const std::size_t r : ranks) compute[r] *= factor;
  };
}

TEST_F(StragglerTest, HealthyRanksAreNotNamed) {
  Start(64);
  Run(3000);
  EXPECT_TRUE(verdicts_.IsEmpty());
  EXPECT_TRUE(watch_->IsJudgingStragglers());
}

TEST_F(StragglerTest, OneRankIsReportedThenItsNodeIsToBeReplaced) {
  Start(64);
  Run(300, Slow({19}, 1.10f, 101));

  const Finding* report = First(Advice::kReport);
  ASSERT_NE(report, nullptr);
  EXPECT_EQ(report->culprit, (Culprit{"n2", Rank{19}}));
  EXPECT_LE(report->step.value, 121);
  EXPECT_NEAR(static_cast<double>(report->onset_step.value), 101, 3);
  EXPECT_THAT(report->reason, HasSubstr("Rank 19 on n2 computes"));
  EXPECT_THAT(report->evidence,
              Contains(HasSubstr("what if: a step takes 1.")));

  const Finding* act = First(Advice::kReplaceNode);
  ASSERT_NE(act, nullptr);
  EXPECT_EQ(act->culprit, report->culprit);
  EXPECT_LE(act->step.value, 101 + 60);
  // One story, told twice: early, and when it is sure.
  EXPECT_THAT(verdicts_.findings, SizeIs(2));
}

TEST_F(StragglerTest, SlowFromTheFirstStepOnIsFoundToo) {
  Start(64);
  Run(100, Slow({40}, 1.1f, 0));
  ASSERT_NE(First(Advice::kReplaceNode), nullptr);
  EXPECT_EQ(First(Advice::kReport)->culprit.rank, Rank{40});
  EXPECT_LE(First(Advice::kReport)->onset_step.value, 6);
}

TEST_F(StragglerTest, SmallAndLastingIsReportedAndNotActedOn) {
  Start(64, {}, 3);
  Run(500, Slow({7}, 1.033f, 101));
  ASSERT_NE(First(Advice::kReport), nullptr);
  EXPECT_EQ(First(Advice::kReport)->culprit.rank, Rank{7});
  EXPECT_EQ(First(Advice::kReplaceNode), nullptr);
}

// Of a rack at the limit some rank is always just above it. Replacing its node
// leaves the rest of the rack, and the next rank would be asked for.
TEST_F(StragglerTest, ARackIsNotReplacedNodeByNode) {
  std::vector<std::size_t> rack;
  for (std::size_t r = 64; r < 64 + 48; ++r) rack.push_back(r);
  Start(384);
  Run(1000, Slow(rack, 1.052f, 101));
  ASSERT_NE(First(Advice::kReport), nullptr);
  EXPECT_EQ(First(Advice::kReplaceNode), nullptr);
}

TEST_F(StragglerTest, ASlowRankThatBecomesSlowerIsToldAgain) {
  Start(64);
  Run(600, [](Step step, std::vector<float>& compute) {
    Slow({19}, 1.04f, 101)(step, compute);
    Slow({19}, 1.20f, 401)(step, compute);
  });
  ASSERT_THAT(verdicts_.findings, SizeIs(3));
  const Finding& second = verdicts_.findings[1];
  EXPECT_GT(second.step, Step{401});
  EXPECT_LE(second.step, Step{401 + 30});
  EXPECT_NEAR(static_cast<double>(second.onset_step.value), 401, 20);
  EXPECT_EQ(verdicts_.findings[2].advice, Advice::kReplaceNode);
}

TEST_F(StragglerTest, OfTwoSlowRanksTheSlowerIsReplacedFirst) {
  Start(64);
  Run(300, [](Step step, std::vector<float>& compute) {
    Slow({19}, 1.10f, 101)(step, compute);
    Slow({40}, 1.20f, 101, 250)(step, compute);
  });
  std::vector<Rank> replaced;
  for (const Finding& finding : verdicts_.findings) {
    if (finding.advice != Advice::kReplaceNode) continue;
    replaced.push_back(finding.culprit.rank);
    EXPECT_EQ(finding.step.value < 250, finding.culprit.rank == Rank{40});
  }
  EXPECT_THAT(replaced, testing::ElementsAre(Rank{40}, Rank{19}));
}

TEST_F(StragglerTest, ANodeIsOneFinding) {
  Start(64);
  Run(300, Slow({8, 9, 10, 11, 12, 13, 14, 15}, 1.15f, 101));
  ASSERT_THAT(verdicts_.findings, SizeIs(2));
  EXPECT_EQ(verdicts_.findings[0].culprit, (Culprit{"n1", kNoRank}));
  EXPECT_THAT(verdicts_.findings[0].reason, HasSubstr("Node n1 (all 8 ranks)"));
  EXPECT_EQ(verdicts_.findings[1].advice, Advice::kReplaceNode);
  EXPECT_EQ(verdicts_.findings[1].culprit, (Culprit{"n1", kNoRank}));
}

TEST_F(StragglerTest, AReplicaOverSeveralNodesBlamesNoNode) {
  // 64 ranks: tensor 8, pipeline 2, so 4 replicas; replica 1 is ranks 8-15
  // and 40-47.
  Start(64, {.tensor = 8, .pipeline = 2});
  std::vector<std::size_t> replica;
  for (std::size_t r = 8; r < 16; ++r) replica.push_back(r);
  for (std::size_t r = 40; r < 48; ++r) replica.push_back(r);
  Run(300, Slow(replica, 1.12f, 101));
  ASSERT_FALSE(verdicts_.findings.empty());
  for (const Finding& finding : verdicts_.findings) {
    EXPECT_EQ(finding.culprit, Culprit()) << finding.reason;
    EXPECT_THAT(finding.reason, HasSubstr("Replica 1 computes"));
    EXPECT_EQ(finding.advice, Advice::kReport);
  }
}

TEST_F(StragglerTest, AllRanksSlowerIsNoStraggler) {
  Start(64);
  std::vector<std::size_t> all(64);
  for (std::size_t r = 0; r < 64; ++r) all[r] = r;
  Run(300, Slow(all, 1.3f, 101));
  EXPECT_THAT(verdicts_.findings, IsEmpty());
}

TEST_F(StragglerTest, StagesAreComparedWithThemselvesOnly) {
  // The last stage computes the loss and is 20 % longer: no straggler, and a
  // slow rank in it is found among its own.
  Start(64, {.tensor = 1, .pipeline = 4});
  const Bend last_stage = [](Step, std::vector<float>& compute) {
    for (std::size_t r = 48; r < 64; ++r) compute[r] *= 1.2f;
  };
  Run(100, last_stage);
  EXPECT_THAT(verdicts_.findings, IsEmpty());
  Run(100, [&](Step step, std::vector<float>& compute) {
    last_stage(step, compute);
    compute[50] *= 1.1f;
  });
  ASSERT_FALSE(verdicts_.findings.empty());
  EXPECT_EQ(verdicts_.findings[0].culprit.rank, Rank{50});
}

TEST_F(StragglerTest, ALayoutThatDoesNotFitIsSaid) {
  Start(64, {.tensor = 7});
  EXPECT_THAT(watch_->LayoutNote(), HasSubstr("64 ranks"));
  Run(100, Slow({5}, 1.2f, 50));
  ASSERT_FALSE(verdicts_.findings.empty());
  EXPECT_THAT(verdicts_.findings[0].evidence, Contains(watch_->LayoutNote()));
}

TEST_F(StragglerTest, OverIsClearedAndComingAgainIsToldAgain) {
  Start(64);
  Run(200, Slow({19}, 1.10f, 101, 151));
  ASSERT_THAT(verdicts_.cleared, SizeIs(1));
  EXPECT_EQ(verdicts_.cleared[0].kind, IncidentKind::kStraggler);
  EXPECT_EQ(verdicts_.cleared[0].culprit, Culprit());
  verdicts_ = Verdicts();
  Run(100, Slow({19}, 1.10f, 201));
  EXPECT_NE(First(Advice::kReport), nullptr);
}

TEST_F(StragglerTest, TheNodeOfOneOfTwoIsClearedAlone) {
  Start(64);
  Run(250, [](Step step, std::vector<float>& compute) {
    if (step.value > 100) compute[3] *= 1.1f;
    if (step.value > 100 && step.value <= 150) compute[60] *= 1.1f;
  });
  ASSERT_THAT(verdicts_.cleared, SizeIs(1));
  EXPECT_EQ(verdicts_.cleared[0].culprit.node, "n7");
}

TEST_F(StragglerTest, PausesAreNotSlowness) {
  Start(32);
  // Rank 4 collects garbage for half a step at every fifth one.
  Run(500, [](Step step, std::vector<float>& compute) {
    if (step.value % 5 == 0) compute[4] *= 1.5f;
  });
  EXPECT_THAT(verdicts_.findings, IsEmpty());
}

TEST_F(StragglerTest, LongBatchesAreNotSlowRanks) {
  Start(64);
  for (int i = 0; i < 600; ++i) {
    std::vector<float> compute = noise_->Step(1.0);
    std::vector<float> tokens(64);
    std::vector<float> squares(64);
    for (std::size_t r = 0; r < 64; ++r) {
      // Rank 9 always gets the long sequences.
      const double length = (r == 9 ? 1.2 : 1.0) + 0.08 * noise_->Normal();
      tokens[r] = static_cast<float>(4096 * length);
      squares[r] = static_cast<float>(4096.0 * 4096 * length * length);
      compute[r] *=
          static_cast<float>(0.2 + 0.5 * length + 0.3 * length * length);
      if (r == 30 && rows_->step.value > 300) compute[r] *= 1.1f;
    }
    rows_->Set(Metric::kComputeSeconds, compute)
        .Set(Metric::kTokens, tokens)
        .Set("sum_sq_len", squares);
    Feed();
  }
  ASSERT_FALSE(verdicts_.findings.empty());
  for (const Finding& finding : verdicts_.findings) {
    EXPECT_EQ(finding.culprit.rank, Rank{30}) << finding.reason;
    EXPECT_GE(finding.onset_step.value, 295);
  }
}

TEST_F(StragglerTest, TokensThatDoNotMatterAreNotDividedBy) {
  // Padded batches: the time is the same whatever the tokens.
  Start(64);
  for (int i = 0; i < 500; ++i) {
    std::vector<float> tokens(64);
    for (std::size_t r = 0; r < 64; ++r) {
      tokens[r] = static_cast<float>(
          4096 * ((r == 9 ? 0.7 : 1.0) + 0.05 * noise_->Normal()));
    }
    rows_->Set(Metric::kComputeSeconds, noise_->Step(1.0))
        .Set(Metric::kTokens, tokens);
    Feed();
  }
  EXPECT_THAT(verdicts_.findings, IsEmpty());
}

TEST_F(StragglerTest, TokensThatOneRankReportsForAllAreNotUsed) {
  Start(16);
  for (int i = 0; i < 200; ++i) {
    std::vector<float> compute = noise_->Step(1.0);
    if (i >= 100) compute[5] *= 1.2f;
    std::vector<float> tokens(16, AbsentValue());
    tokens[0] = 65536;
    rows_->Set(Metric::kComputeSeconds, compute).Set(Metric::kTokens, tokens);
    Feed();
  }
  ASSERT_FALSE(verdicts_.findings.empty());
  EXPECT_EQ(verdicts_.findings[0].culprit.rank, Rank{5});
}

TEST_F(StragglerTest, SquaresThatAreReportedNowAndThenDoNoHarm) {
  Start(16);
  for (int i = 0; i < 400; ++i) {
    rows_->Set(Metric::kComputeSeconds, noise_->Step(1.0))
        .All(Metric::kTokens, 4096);
    if (i % 10 == 0) rows_->All("sum_sq_len", 4096.0f * 4096);
    Feed();
  }
  EXPECT_THAT(verdicts_.findings, IsEmpty());
}

TEST_F(StragglerTest, InMuchNoiseItIsToldOnceAndNotTakenBackAtOnce) {
  Start(64);
  for (int i = 0; i < 600; ++i) {
    std::vector<float> compute = noise_->Step(1.0, 0.08);
    if (i >= 100) compute[5] *= 1.2f;
    rows_->Set(Metric::kComputeSeconds, compute);
    Feed();
  }
  ASSERT_NE(First(Advice::kReplaceNode), nullptr);
  EXPECT_EQ(First(Advice::kReplaceNode)->culprit.rank, Rank{5});
  EXPECT_LE(verdicts_.findings.size(), 2u);
  EXPECT_THAT(verdicts_.cleared, IsEmpty());
}

TEST_F(StragglerTest, WithoutComputeTimeNothingIsJudged) {
  Start(16);
  for (int i = 0; i < 100; ++i) {
    rows_->StepSeconds(i > 50 ? 1.05 : 1.0);
    Feed();
  }
  EXPECT_FALSE(watch_->IsJudgingStragglers());
  EXPECT_THAT(verdicts_.findings, IsEmpty());
}

TEST_F(StragglerTest, OfTwoNobodyIsNamedAndOfThreeOneIs) {
  Start(2);
  Run(300, Slow({1}, 1.5f, 50));
  EXPECT_THAT(verdicts_.findings, IsEmpty());
  Start(3);
  Run(300, Slow({1}, 1.5f, 50));
  ASSERT_FALSE(verdicts_.findings.empty());
  EXPECT_EQ(verdicts_.findings[0].culprit.rank, Rank{1});
}

TEST_F(StragglerTest, MissingAndSenselessValuesAreNotSlow) {
  Start(16);
  Run(300, [&](Step step, std::vector<float>& compute) {
    const auto s = static_cast<std::size_t>(step.value);
    compute[s % 16] = AbsentValue();
    compute[(s + 1) % 16] = std::numeric_limits<float>::quiet_NaN();
    compute[(s + 2) % 16] = std::numeric_limits<float>::infinity();
    compute[(s + 3) % 16] = 0;
    if (s % 7 == 0) {
      for (float& value : compute) value = AbsentValue();
    }
  });
  EXPECT_THAT(verdicts_.findings, IsEmpty());
}

TEST_F(StragglerTest,
       LateRowsArePassedOverAndACounterThatWasSetBackBeginsAnew) {
  Start(16);
  Run(200);
  rows_->step = Step{150};
  Run(20, Slow({3}, 3.0f, 0));  // Late: steps 150 to 169 were seen.
  EXPECT_THAT(verdicts_.findings, IsEmpty());
  rows_->step = Step{10};
  Run(100, Slow({3}, 1.5f, 60));
  ASSERT_FALSE(verdicts_.findings.empty());
  EXPECT_NEAR(static_cast<double>(verdicts_.findings[0].onset_step.value), 60,
              1);
}

TEST_F(StragglerTest, OtherAttemptsAndWorldsAreIgnoredAndANewAttemptIsClean) {
  Start(16);
  Run(100, Slow({3}, 1.04f, 85));  // Half of the way to a report.
  WatchedAttempt next = RigAttempt(16);
  next.attempt = AttemptId{2};
  watch_->Begin(next, kRigNow);
  Run(100, Slow({3}, 2.0f, 0));  // Still rows of attempt 1.
  RowMaker small(8);
  StepRow row = small.All(Metric::kComputeSeconds, 1).Take();
  row.attempt = AttemptId{2};
  watch_->ObserveRow(row, kRigNow, &verdicts_);
  EXPECT_TRUE(verdicts_.IsEmpty());
}

TEST_F(StragglerTest, StateIsBelow256BytesARank) {
  constexpr std::size_t kRanks = 20000;
  Start(kRanks, {.tensor = 8, .pipeline = 4});
  for (int i = 0; i < 30; ++i) {
    rows_->All(Metric::kComputeSeconds, 1)
        .All(Metric::kDataSeconds, 0)
        .All(Metric::kTokens, 4096)
        .StepSeconds(1);
    Feed();
  }
  EXPECT_LT(watch_->StateBytes(), 256 * kRanks);
}

}  // namespace
}  // namespace steadyrun
