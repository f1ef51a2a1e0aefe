#include "server/detect/nan_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "proto/messages/messages.h"

namespace steadyrun {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr Now kNow{MonoTime{std::chrono::seconds(50)},
                   WallTime{std::chrono::seconds(1'700'000'000)}};

WatchedAttempt FourRanks() {
  WatchedAttempt attempt;
  attempt.run = "run";
  attempt.attempt = AttemptId{2};
  attempt.rank_nodes = {"a", "a", "b", "b"};
  return attempt;
}

using Columns = std::vector<std::pair<Metric, std::vector<float>>>;

StepRow Row(std::int64_t step, const Columns& columns) {
  StepRow row;
  row.run = "run";
  row.attempt = AttemptId{2};
  row.step = Step{step};
  row.world_size = 4;
  for (const auto& [metric, values] : columns) {
    row.metrics.push_back(static_cast<std::uint32_t>(metric));
    row.values.insert(row.values.end(), values.begin(), values.end());
  }
  return row;
}
StepRow Losses(std::int64_t step, std::vector<float> losses) {
  return Row(step, {{Metric::kStepSeconds, {1, 1, 1, 1}},
                    {Metric::kLoss, std::move(losses)}});
}

NanDetector Watching() {
  NanDetector detector{NanOptions()};
  detector.Begin(FourRanks());
  return detector;
}

struct NanCase {
  const char* what;
  StepRow row;
  bool is_found;
  Culprit culprit;
  const char* reason;
};

TEST(NanDetectorTest, NamesTheStepAndTheRankWhoseValueIsBad) {
  const float absent = AbsentValue();
  const NanCase cases[] = {
      {"healthy", Losses(7, {1, 2, 3, 4}), false, {}, ""},
      {"absent values are none",
       Losses(7, {1, absent, 3, absent}),
       false,
       {},
       ""},
      {"all absent",
       Losses(7, {absent, absent, absent, absent}),
       false,
       {},
       ""},
      {"very large but finite",
       Losses(7, {1, 3e38f, -3e38f, 4}),
       false,
       {},
       ""},
      {"one rank's loss",
       Losses(7, {1, 2, kNan, 4}),
       true,
       {"b", Rank{2}},
       "The loss of rank 2 on b is NaN at step 7."},
      {"infinite",
       Losses(7, {1, -kInf, 3, 4}),
       true,
       {"a", Rank{1}},
       "The loss of rank 1 on a is -Inf at step 7."},
      {"half of the ranks: the first",
       Losses(7, {1, 2, kNan, kNan}),
       true,
       {"b", Rank{2}},
       "The loss of rank 2 on b is NaN at step 7, and of 1 more ranks."},
      {"all ranks: nobody singled out",
       Losses(7, {kNan, kNan, kNan, kNan}),
       true,
       {"", kNoRank},
       "The loss is NaN at step 7 on 4 of 4 ranks, so which rank came first is "
       "unknown."},
      {"the only rank that reports",
       Losses(7, {kInf, absent, absent, absent}),
       true,
       {"a", Rank{0}},
       "The loss of rank 0 on a is +Inf at step 7."},
      {"the gradient norm after the all-reduce, the loss of one",
       Row(7, {{Metric::kGradNorm, {kNan, kNan, kNan, kNan}},
               {Metric::kLoss, {1, 2, 3, kNan}}}),
       true,
       {"b", Rank{3}},
       "The loss of rank 3 on b is NaN at step 7."},
      {"only the gradient norm",
       Row(7, {{Metric::kLoss, {1, 2, 3, 4}},
               {Metric::kGradNorm, {kInf, kInf, kInf, kInf}}}),
       true,
       {"", kNoRank},
       "The gradient norm is +Inf at step 7 on 4 of 4 ranks, so which rank "
       "came first is unknown."},
      {"other metrics may be what they like",
       Row(7, {{Metric::kLearningRate, {kNan, kNan, kNan, kNan}},
               {Metric::kLoss, {1, 2, 3, 4}}}),
       false,
       {},
       ""},
      {"no columns", Row(7, {}), false, {}, ""},
  };
  for (const NanCase& test : cases) {
    NanDetector detector = Watching();

    const auto found = detector.Observe(test.row, kNow);

    ASSERT_EQ(found.has_value(), test.is_found) << test.what;
    if (!found.has_value()) continue;
    EXPECT_EQ(found->kind, IncidentKind::kNan) << test.what;
    EXPECT_EQ(found->culprit, test.culprit) << test.what;
    EXPECT_EQ(found->reason, test.reason) << test.what;
    EXPECT_EQ(found->step, Step{7}) << test.what;
    EXPECT_FALSE(found->evidence.empty()) << test.what;
  }
}

TEST(NanDetectorTest, SaysItOnceAndAgainOnlyForAnEarlierStep) {
  NanDetector detector = Watching();
  EXPECT_TRUE(detector.Observe(Losses(9, {1, kNan, 3, 4}), kNow).has_value());
  EXPECT_FALSE(detector.Observe(Losses(9, {1, kNan, 3, 4}), kNow).has_value());
  EXPECT_FALSE(detector.Observe(Losses(10, {1, kNan, 3, 4}), kNow).has_value());

  const auto earlier = detector.Observe(Losses(8, {1, 2, 3, kNan}), kNow);

  ASSERT_TRUE(earlier.has_value());
  EXPECT_EQ(earlier->step, Step{8});
  EXPECT_EQ(earlier->culprit.rank, Rank{3});
}

TEST(NanDetectorTest, ANewAttemptStartsClean) {
  NanDetector detector = Watching();
  detector.Observe(Losses(9, {1, kNan, 3, 4}), kNow);
  WatchedAttempt next = FourRanks();
  next.attempt = AttemptId{3};
  detector.Begin(next);

  EXPECT_FALSE(detector.Observe(Losses(5, {kNan, 1, 1, 1}), kNow).has_value());
  StepRow row = Losses(9, {1, kNan, 3, 4});
  row.attempt = AttemptId{3};
  EXPECT_TRUE(detector.Observe(row, kNow).has_value());
}

StepRow Overflow(std::int64_t step) {
  return Row(step, {{Metric::kLoss, {1, 2, 3, 4}},
                    {Metric::kGradNorm, {kInf, kInf, kInf, kInf}},
                    {Metric::kLossScale, {512, 512, 512, 512}}});
}
StepRow Scaled(std::int64_t step) {
  return Row(step, {{Metric::kLoss, {1, 2, 3, 4}},
                    {Metric::kGradNorm, {1, 1, 1, 1}},
                    {Metric::kLossScale, {512, 512, 512, 512}}});
}

TEST(NanDetectorTest, LossScalingMaySkipSteps) {
  NanDetector detector = Watching();
  std::int64_t step = 0;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 10; ++i) {
      EXPECT_FALSE(detector.Observe(Overflow(++step), kNow).has_value());
    }
    EXPECT_FALSE(detector.Observe(Scaled(++step), kNow).has_value());
  }
  // A loss that is not finite is no skipped step.
  StepRow bad = Overflow(++step);
  bad.values[2] = kNan;
  EXPECT_TRUE(detector.Observe(bad, kNow).has_value());
}

TEST(NanDetectorTest, ButNotForEver) {
  NanDetector detector = Watching();
  for (std::int64_t step = 1; step <= 10; ++step) {
    EXPECT_FALSE(detector.Observe(Overflow(step), kNow).has_value());
  }

  const auto found = detector.Observe(Overflow(11), kNow);

  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->evidence,
              testing::Contains(HasSubstr("11 steps in a row")));
}

TEST(HasNonFiniteTest, AgreesWithTheDefinitionOnEverySpecialBitPattern) {
  // All NaNs, infinities and their neighbours, at each place of a vector.
  const std::uint32_t patterns[] = {
      0,          0x80000000, 1,          0x007fffff, 0x00800000,  0x7f7fffff,
      0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, kAbsentBits, 0x7fc0deac,
      0x7fc0deae, 0xffc0dead, 0x7fffffff, 0xff7fffff, 0xff800000,  0xffffffff};
  for (const std::uint32_t bits : patterns) {
    const float value = std::bit_cast<float>(bits);
    const bool is_bad = !std::isfinite(value) && bits != kAbsentBits;
    for (std::size_t at = 0; at < 19; ++at) {
      std::vector<float> values(19, 1.0f);
      values[at] = value;
      ASSERT_EQ(HasNonFinite(values), is_bad) << std::hex << bits;
    }
  }
  EXPECT_FALSE(HasNonFinite({}));
}

}  // namespace
}  // namespace steadyrun
