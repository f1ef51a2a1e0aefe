#include "server/detect/integrity/integrity_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/unit/speed/step_rig.h"

namespace steadyrun {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class IntegrityTest : public testing::Test {
 protected:
  void Start(std::size_t ranks, const ParallelLayout& layout = {}) {
    watch_.emplace(IntegrityOptions(), layout);
    watch_->Begin(RigAttempt(ranks), kRigNow);
    rows_.emplace(ranks);
    places_ = RankPlaces(layout, ranks);
    verdicts_ = Verdicts();
  }
  // Hashes that depend on the shard and the step, with the bits of `wrong`
  // ranks flipped in the lower or upper half.
  void Vote(const std::vector<std::size_t>& wrong, bool is_high = false) {
    std::vector<float> low(places_.World());
    std::vector<float> high(places_.World());
    for (std::size_t r = 0; r < places_.World(); ++r) {
      const std::size_t base =
          (places_.ShardOf(r) * 7919 +
           static_cast<std::size_t>(rows_->step.value) * 104729) %
          (1 << 24);
      low[r] = static_cast<float>(base);
      high[r] = static_cast<float>((base * 31) % (1 << 24));
    }
    for (const std::size_t r : wrong) {
      float& value = is_high ? high[r] : low[r];
      value = static_cast<float>(static_cast<std::uint32_t>(value) ^ 1U);
    }
    rows_->Set("hash/params/lo", low).Set("hash/params/hi", high);
    Feed();
  }
  void Feed() { watch_->ObserveRow(rows_->Take(), kRigNow, &verdicts_); }

  std::optional<IntegrityWatch> watch_;
  std::optional<RowMaker> rows_;
  RankPlaces places_;
  Verdicts verdicts_;
};

TEST_F(IntegrityTest, ReplicasThatAgreeAreWell) {
  Start(64, {.tensor = 4, .pipeline = 2, .expert = 2});
  for (int i = 0; i < 100; ++i) Vote({});
  EXPECT_TRUE(verdicts_.IsEmpty());
}

TEST_F(IntegrityTest, TheRankThatDiffersIsNamedAtOnceWithTheWayBack) {
  for (const bool is_high : {false, true}) {
    Start(16, {.tensor = 2});  // 8 replicas of 2 shards.
    Vote({});
    Feed();  // A step without a vote.
    Vote({5}, is_high);

    ASSERT_THAT(verdicts_.findings, SizeIs(1));
    const Finding& finding = verdicts_.findings[0];
    EXPECT_EQ(finding.kind, IncidentKind::kCorruption);
    EXPECT_EQ(finding.severity, Severity::kCritical);
    EXPECT_EQ(finding.culprit, (Culprit{"n0", Rank{5}}));
    EXPECT_EQ(finding.step, Step{3});
    EXPECT_EQ(finding.onset_step, Step{2});
    EXPECT_EQ(finding.advice, Advice::kRollback);
    EXPECT_EQ(finding.rollback.below, Step{2});
    EXPECT_EQ(
        finding.reason,
        "The params hash of rank 5 on n0 differs from the majority of its "
        "replicas at step 3.");
    EXPECT_THAT(finding.evidence, Contains("all agreed at step 1"));
  }
}

TEST_F(IntegrityTest, EachDisputeIsToldOnceAndClearedWhenOver) {
  Start(8);
  Vote({});
  Vote({5});
  Vote({5});
  Vote({5});
  EXPECT_THAT(verdicts_.findings, SizeIs(1));
  Vote({5, 6});  // Another one.
  ASSERT_THAT(verdicts_.findings, SizeIs(2));
  EXPECT_THAT(verdicts_.findings[1].suspects, ElementsAre(Rank{5}, Rank{6}));
  EXPECT_EQ(verdicts_.findings[1].culprit, (Culprit{"n0", kNoRank}));
  EXPECT_THAT(verdicts_.cleared, IsEmpty());
  Vote({});
  ASSERT_THAT(verdicts_.cleared, SizeIs(1));
  EXPECT_EQ(verdicts_.cleared[0].kind, IncidentKind::kCorruption);
  Vote({5});
  EXPECT_THAT(verdicts_.findings, SizeIs(3));
}

TEST_F(IntegrityTest, OfTwoReplicasNobodyIsNamed) {
  Start(4, {.tensor = 2});
  Vote({});
  Vote({1});
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].culprit, Culprit());
  EXPECT_THAT(verdicts_.findings[0].suspects, ElementsAre(Rank{1}, Rank{3}));
  EXPECT_THAT(verdicts_.findings[0].reason, HasSubstr("is unknown"));
  EXPECT_EQ(verdicts_.findings[0].advice, Advice::kRollback);
}

TEST_F(IntegrityTest, AMajorityIsBelievedAtTheFirstVote) {
  Start(8);
  Vote({3});
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].culprit.rank, Rank{3});
  EXPECT_EQ(verdicts_.findings[0].rollback.below, Step{1});
}

TEST_F(IntegrityTest, ShardsTakenForReplicasAreNoCorruption) {
  Start(8);
  places_ = RankPlaces({.tensor = 4}, 8);  // The truth nobody told us.
  for (int i = 0; i < 20; ++i) Vote({});
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].severity, Severity::kWarning);
  EXPECT_EQ(verdicts_.findings[0].advice, Advice::kReport);
  EXPECT_THAT(verdicts_.findings[0].reason, HasSubstr("have never agreed"));
}

TEST_F(IntegrityTest, RanksThatDoNotReportHaveNoVote) {
  Start(8);
  Vote({});
  std::vector<float> low(8, 1);
  std::vector<float> high(8, 2);
  low[0] = AbsentValue();
  high[1] = AbsentValue();
  low[2] = 0.5f;       // No whole number.
  high[3] = 16777216;  // 2^24: not exact any more.
  low[4] = -1;
  rows_->Set("hash/params/lo", low).Set("hash/params/hi", high);
  Feed();
  rows_->Set("hash/params/lo", low);  // Its other half is missing.
  Feed();
  EXPECT_THAT(verdicts_.findings, IsEmpty());
}

TEST_F(IntegrityTest, ScalarsThatMustBeEqual) {
  Start(8);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  rows_->All("equal/loss", 2.5f);
  Feed();
  rows_->All("equal/loss", kNan);  // Alike, if not good.
  Feed();
  rows_->Set("equal/loss",
             {2, AbsentValue(), 2, 2, 2, 2.0000002f, 2, AbsentValue()});
  Feed();
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].detector, "equal_scalars");
  EXPECT_EQ(verdicts_.findings[0].culprit.rank, Rank{5});
  EXPECT_EQ(verdicts_.findings[0].advice, Advice::kReport);
  EXPECT_THAT(verdicts_.findings[0].reason, HasSubstr("The value of loss"));
}

TEST_F(IntegrityTest, ALocalGradientNormThatStandsOutThreeTimes) {
  Start(16);
  ComputeNoise noise(16, 5);
  for (int i = 1; i <= 400; ++i) {
    std::vector<float> norms = noise.Step(0.3, 0.05);
    if (i == 150 || i == 250) norms[4] *= 10;  // One bad batch.
    if (i >= 300 && i < 330 && i % 3 == 0) norms[11] *= 2;
    rows_->Set("local_grad_norm", norms);
    Feed();
    if (i == 299) {
      EXPECT_THAT(verdicts_.findings, IsEmpty());
    }
  }
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].detector, "local_norm");
  EXPECT_EQ(verdicts_.findings[0].culprit.rank, Rank{11});
  EXPECT_EQ(verdicts_.findings[0].step, Step{306});
  EXPECT_THAT(verdicts_.cleared, SizeIs(1));
}

TEST_F(IntegrityTest, ALocalNormThatIsNotFiniteIsAHit) {
  Start(8);
  ComputeNoise noise(8, 6);
  for (int i = 1; i <= 30; ++i) {
    std::vector<float> norms = noise.Step(0.3, 0.05);
    if (i > 27) norms[2] = std::numeric_limits<float>::infinity();
    rows_->Set("local_grad_norm", norms);
    Feed();
  }
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].culprit.rank, Rank{2});
}

TEST_F(IntegrityTest, OtherAttemptsAreIgnored) {
  Start(8);
  WatchedAttempt next = RigAttempt(8);
  next.attempt = AttemptId{2};
  watch_->Begin(next, kRigNow);
  Vote({5});
  EXPECT_TRUE(verdicts_.IsEmpty());
}

TEST_F(IntegrityTest, StateIsBelow256BytesARank) {
  constexpr std::size_t kRanks = 20000;
  Start(kRanks, {.tensor = 8, .pipeline = 4});
  Vote({});
  rows_->All("local_grad_norm", 1);
  Feed();
  EXPECT_LT(watch_->StateBytes(), 128 * kRanks);
}

}  // namespace
}  // namespace steadyrun
