// What concerns the whole run: slowdown, waiting for input, slow saves, slow
// rollouts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "server/detect/speed/speed_watch.h"
#include "tests/unit/speed/step_rig.h"

namespace steadyrun {
namespace {

using testing::Contains;
using testing::Each;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::size_t kRanks = 16;

class JobSpeedTest : public testing::Test {
 protected:
  JobSpeedTest() { watch_.Begin(RigAttempt(kRanks, 4), kRigNow); }

  void Feed() { watch_.ObserveRow(rows_.Take(), kRigNow, &verdicts_); }
  // Steps of about `seconds`, bent by `more` before they are fed.
  void Run(int steps, double seconds,
           const std::function<void(RowMaker&)>& more = nullptr) {
    for (int i = 0; i < steps; ++i) {
      double took = seconds * (1 + 0.02 * noise_.Normal());
      // What an evaluation nobody declared looks like.
      if (rows_.step.value % 40 < 2) took += 10;
      rows_.StepSeconds(took);
      if (more) more(rows_);
      Feed();
    }
  }
  void Save(double seconds) {
    watch_.ObserveSave(rows_.step, seconds, kRigNow, &verdicts_);
    rows_.step = Step{rows_.step.value + 100};
  }

  SpeedWatch watch_{SpeedOptions(), ParallelLayout()};
  RowMaker rows_{kRanks};
  ComputeNoise noise_{kRanks, 11};
  Verdicts verdicts_;
};

TEST_F(JobSpeedTest, ASteadyRunWithPausesIsWell) {
  Run(3000, 2);
  EXPECT_TRUE(verdicts_.IsEmpty());
}

TEST_F(JobSpeedTest, LongerStepsAreASlowdownAndItsEndIsSaid) {
  Run(100, 2);
  Run(40, 2.6);
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  const Finding& finding = verdicts_.findings[0];
  EXPECT_EQ(finding.kind, IncidentKind::kSlowdown);
  EXPECT_EQ(finding.signature, "slowdown step_time");
  EXPECT_NEAR(static_cast<double>(finding.onset_step.value), 101, 5);
  EXPECT_LE(finding.step.value, 120);
  EXPECT_THAT(finding.reason, HasSubstr("% longer since step 101"));
  EXPECT_THAT(finding.evidence, Contains(HasSubstr("what if: 1.")));
  EXPECT_THAT(verdicts_.cleared, IsEmpty());
  Run(40, 2);
  ASSERT_THAT(verdicts_.cleared, SizeIs(1));
  EXPECT_EQ(verdicts_.cleared[0].kind, IncidentKind::kSlowdown);
  EXPECT_THAT(verdicts_.findings, SizeIs(1));
}

TEST_F(JobSpeedTest, SomeFastStepsAreNoTimeToTellAnybody) {
  const auto run = [this](int steps, double seconds) {
    for (int i = 0; i < steps; ++i) {
      rows_.StepSeconds(seconds * (1 + 0.02 * noise_.Normal()));
      Feed();
    }
  };
  run(200, 0.05);
  run(60, 0.08);  // 5 s: a neighbour on the machine.
  run(300, 0.05);
  EXPECT_TRUE(verdicts_.IsEmpty());

  run(500, 0.08);
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].kind, IncidentKind::kSlowdown);
  EXPECT_NEAR(static_cast<double>(verdicts_.findings[0].onset_step.value), 561,
              6);
}

TEST_F(JobSpeedTest, ASmallChangeIsJitterAndAFasterRunIsNoFault) {
  Run(100, 2);
  Run(100, 2.12);
  Run(100, 1.2);
  EXPECT_TRUE(verdicts_.IsEmpty());
}

TEST_F(JobSpeedTest, MoreWorkAStepIsNoSlowdown) {
  const auto tokens = [](float count) {
    return [count](RowMaker& row) { row.All(Metric::kTokens, count); };
  };
  Run(100, 2, tokens(1000));
  Run(100, 3, tokens(1500));
  EXPECT_THAT(verdicts_.findings, IsEmpty());
  Run(100, 4, tokens(1500));
  EXPECT_THAT(verdicts_.findings, SizeIs(1));
}

TEST_F(JobSpeedTest, FewerTokensInStepsAsLongAsBefore) {
  Run(100, 2, [](RowMaker& row) { row.All(Metric::kTokens, 1000); });
  Run(50, 2, [](RowMaker& row) { row.All(Metric::kTokens, 700); });
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].signature, "slowdown throughput");
  EXPECT_THAT(verdicts_.findings[0].reason,
              HasSubstr("% fewer tokens a second since step 101"));
}

TEST_F(JobSpeedTest, TheStageWhoseComputeRoseIsEvidence) {
  SpeedWatch staged{SpeedOptions(), ParallelLayout{.pipeline = 4}};
  staged.Begin(RigAttempt(kRanks, 4), kRigNow);
  for (int i = 0; i < 160; ++i) {
    std::vector<float> compute = noise_.Step(1);
    if (i >= 100) {
      for (std::size_t r = 8; r < 12; ++r) compute[r] *= 1.5f;
    }
    rows_.StepSeconds(i < 100 ? 2 : 2.5).Set(Metric::kComputeSeconds, compute);
    staged.ObserveRow(rows_.Take(), kRigNow, &verdicts_);
  }
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].kind, IncidentKind::kSlowdown);
  EXPECT_THAT(verdicts_.findings[0].evidence,
              Contains(HasSubstr("stage 2 1.5")));
}

TEST_F(JobSpeedTest, WhatAStragglerExplainsIsNotToldTwice) {
  for (int i = 0; i < 200; ++i) {
    std::vector<float> compute = noise_.Step(1);
    if (i >= 100) compute[5] *= 1.3f;
    rows_.StepSeconds(i < 100 ? 1.2 : 1.5)
        .Set(Metric::kComputeSeconds, compute);
    Feed();
  }
  ASSERT_FALSE(verdicts_.findings.empty());
  EXPECT_THAT(verdicts_.findings,
              Each(Field(&Finding::kind, IncidentKind::kStraggler)));
}

TEST_F(JobSpeedTest, AllRanksWaitForInput) {
  const auto waits = [&](double share, std::size_t only = kRanks) {
    return [this, share, only](RowMaker& row) {
      std::vector<float> data(kRanks);
      for (std::size_t r = 0; r < kRanks; ++r) {
        data[r] = static_cast<float>(0.02 * noise_.Uniform());
        if (only == kRanks || only == r) {
          data[r] += static_cast<float>(2 * share);
        }
      }
      row.Set(Metric::kDataSeconds, data);
    };
  };
  Run(100, 2, waits(0.02));
  Run(1, 2, waits(0.9));  // The first batch of a pass over the data.
  Run(50, 2, waits(0.02));
  EXPECT_THAT(verdicts_.findings, IsEmpty());
  Run(20, 2, waits(0.4));
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].kind, IncidentKind::kDataStall);
  EXPECT_EQ(verdicts_.findings[0].culprit, Culprit());
  EXPECT_NEAR(static_cast<double>(verdicts_.findings[0].onset_step.value), 152,
              1);
  EXPECT_LE(verdicts_.findings[0].step.value, 156);
  Run(50, 2, waits(0.02));
  EXPECT_THAT(verdicts_.cleared, SizeIs(1));
  // One rank's loader.
  Run(20, 2, waits(0.3, 6));
  ASSERT_THAT(verdicts_.findings, SizeIs(2));
  EXPECT_EQ(verdicts_.findings[1].culprit, (Culprit{"n1", Rank{6}}));
}

TEST_F(JobSpeedTest, InputThatIsLateFromTheFirstStepOn) {
  Run(40, 2, [](RowMaker& row) { row.All(Metric::kDataSeconds, 1); });
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_THAT(verdicts_.findings[0].reason, HasSubstr("from the first steps"));
}

TEST_F(JobSpeedTest, SlowSavesTwiceInARow) {
  Save(90);  // The first one makes the folders.
  for (const double seconds : {20, 22, 21, 45, 20, 21}) Save(seconds);
  EXPECT_THAT(verdicts_.findings, IsEmpty());  // One alone.
  Save(50);
  Save(60);
  Save(70);
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].kind, IncidentKind::kCheckpointSlow);
  EXPECT_THAT(verdicts_.findings[0].reason,
              HasSubstr("2.9 times as long as usual (21.0 s)"));
  Save(20);
  EXPECT_THAT(verdicts_.cleared, SizeIs(1));
}

TEST_F(JobSpeedTest, FastSavesAreOfNoInterestAndTheNewUsualIsTaken) {
  for (int i = 0; i < 8; ++i) Save(0.1);
  for (int i = 0; i < 8; ++i) Save(0.8);
  EXPECT_THAT(verdicts_.findings, IsEmpty());
  for (int i = 0; i < 40; ++i) Save(30);
  EXPECT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_THAT(verdicts_.cleared, SizeIs(1));
}

TEST_F(JobSpeedTest, ARolloutThatTakesMuchLonger) {
  // Reported by one rank, as verl does.
  const auto gen = [](float seconds, float length) {
    return [=](RowMaker& row) {
      std::vector<float> time(kRanks, AbsentValue());
      std::vector<float> mean(kRanks, AbsentValue());
      time[0] = seconds;
      mean[0] = length;
      row.Set("timing_s/gen", time).Set("response_length/mean", mean);
    };
  };
  Run(30, 100, gen(60, 500));
  Run(20, 400, gen(360, 3000));  // Longer answers: another kind's matter.
  Run(1, 300, gen(250, 500));
  Run(5, 100, gen(60, 500));
  EXPECT_THAT(verdicts_.findings, IsEmpty());
  Run(3, 300, gen(250, 500));
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].kind, IncidentKind::kGenerationStall);
  EXPECT_THAT(verdicts_.findings[0].evidence,
              Contains(HasSubstr("timing_s/gen = 250")));
  Run(5, 100, gen(60, 500));
  EXPECT_THAT(verdicts_.cleared, SizeIs(1));
}

// One cause, one finding: also when the rollouts are well again before the
// level of the step time is seen to have changed.
TEST_F(JobSpeedTest, SlowRolloutsAreNoSlowdownToo) {
  const auto gen = [](float seconds) {
    return [=](RowMaker& row) { row.All("rollout_seconds", seconds); };
  };
  Run(100, 100, gen(60));
  Run(12, 300, gen(260));
  Run(40, 100, gen(60));
  Run(60, 300, gen(260));
  for (const Finding& finding : verdicts_.findings) {
    EXPECT_EQ(finding.kind, IncidentKind::kGenerationStall) << finding.reason;
  }
  EXPECT_THAT(verdicts_.findings, SizeIs(2));
}

TEST_F(JobSpeedTest, ARolloutRankThatKeepsTheOthersWaiting) {
  const auto times = [&](std::size_t slow, float factor) {
    return [=, this](RowMaker& row) {
      std::vector<float> values = noise_.Step(60, 0.2);
      values[slow] *= factor;
      row.Set("rollout_seconds", values);
    };
  };
  Run(30, 100, times(0, 1));
  for (std::size_t r = 0; r < 3; ++r) Run(1, 100, times(r, 6));
  ASSERT_THAT(verdicts_.findings, SizeIs(1));
  EXPECT_EQ(verdicts_.findings[0].culprit, Culprit());  // Another each time.
  Run(4, 100, times(0, 1));
  Run(3, 100, times(9, 6));
  ASSERT_THAT(verdicts_.findings, SizeIs(2));
  EXPECT_EQ(verdicts_.findings[1].culprit, (Culprit{"n2", Rank{9}}));
}

}  // namespace
}  // namespace steadyrun
