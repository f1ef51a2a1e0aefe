#include "server/detect/phase_deadlines.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "server/detect/hang_detector.h"

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

using Plan = std::vector<std::pair<Phase, Duration>>;
const Plan kUsual = {
    {Phase::kRollout, seconds(120)},  {Phase::kReward, seconds(10)},
    {Phase::kReference, seconds(20)}, {Phase::kForward, seconds(30)},
    {Phase::kBackward, seconds(40)},  {Phase::kWeightSync, seconds(4)}};

// Ranks of an RL run that go through their phases together, told by heartbeats
// each half second.
class RlRun {
 public:
  explicit RlRun(HangOptions options = {}, int ranks = 2)
      : detector_(options), ranks_(static_cast<std::size_t>(ranks)) {
    attempt_.run = "rl";
    attempt_.attempt = AttemptId{1};
    attempt_.rank_nodes.assign(ranks_.size(), "n0");
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      ranks_[r].rank = Rank{static_cast<std::int32_t>(r)};
      ranks_[r].attempt = AttemptId{1};
      ranks_[r].life = RankLife::kAlive;
    }
    detector_.Begin(attempt_, now_);
    progress_.Begin(attempt_, now_);
  }

  // The service starts anew; training goes on.
  void RestartService(HangOptions options = {}) {
    detector_ = HangDetector(options);
    detector_.Begin(attempt_, now_);
    progress_.Begin(attempt_, now_);
    Tell();
  }

  void Enter(Phase phase) {
    for (RankState& rank : ranks_) {
      rank.phase = phase;
      ++rank.phase_seq;
    }
    entered_ = now_;
  }
  void Stay(Duration time) {
    for (const MonoTime end = now_ + time; now_ < end;) {
      now_ += milliseconds(100);
      if (++ticks_ % 5 == 0) Tell();
    }
  }
  void MakeSteps(int count, const Plan& plan = kUsual) {
    for (int i = 0; i < count; ++i) {
      const MonoTime began = now_;
      for (const auto& [phase, time] : plan) {
        Enter(phase);
        Stay(time);
      }
      for (RankState& rank : ranks_) ++rank.step.value;
      detector_.ObserveStep(ranks_[0].step, ToSeconds(now_ - began), now_);
    }
  }
  Duration DeadlineIn(Phase phase) {
    Enter(phase);
    Tell();
    return detector_.DeadlineNow(progress_);
  }

 private:
  void Tell() {
    for (RankState& rank : ranks_) {
      rank.phase_age = rank.progress_age = now_ - entered_;
      detector_.ObserveRank(rank, now_);
      progress_.Observe(rank, now_);
    }
  }

  HangDetector detector_;
  RunProgress progress_;
  WatchedAttempt attempt_;
  std::vector<RankState> ranks_;
  MonoTime now_{std::chrono::hours(1)};
  MonoTime entered_ = now_;
  int ticks_ = 0;
};

// The sketch errs by 12 % at most, upwards.
void ExpectAbout(Duration got, Duration want) {
  EXPECT_GE(got, want);
  EXPECT_LE(ToSeconds(got), 1.13 * ToSeconds(want));
}

TEST(PhaseDeadlinesTest, EachPhaseOfAnRlStepHasItsOwn) {
  RlRun run;
  run.MakeSteps(10);
  ExpectAbout(run.DeadlineIn(Phase::kRollout), minutes(10));
  ExpectAbout(run.DeadlineIn(Phase::kReference), seconds(100));
  EXPECT_EQ(run.DeadlineIn(Phase::kReward), PhaseDeadlines::kFloor);
  EXPECT_EQ(run.DeadlineIn(Phase::kWeightSync), PhaseDeadlines::kFloor);
  EXPECT_EQ(run.DeadlineIn(Phase::kBackward), PhaseDeadlines::kTrainFloor);
  // Not one of the step's: a declared long phase keeps its fixed deadline.
  EXPECT_EQ(run.DeadlineIn(Phase::kCheckpoint), minutes(5));
}

TEST(PhaseDeadlinesTest, AValueOfThePolicyWins) {
  HangOptions options;
  options.phase[Phase::kRollout] = minutes(90);
  options.phase[Phase::kWeightSync] = seconds(20);
  RlRun run(options);
  run.MakeSteps(10);
  EXPECT_EQ(run.DeadlineIn(Phase::kRollout), minutes(90));
  EXPECT_EQ(run.DeadlineIn(Phase::kWeightSync), seconds(20));
}

TEST(PhaseDeadlinesTest, BeforeEnoughIsKnownItWaitsLong) {
  RlRun run;
  run.MakeSteps(3);
  EXPECT_EQ(run.DeadlineIn(Phase::kRollout), PhaseDeadlines::kRolloutWarmUp);
  EXPECT_EQ(run.DeadlineIn(Phase::kWeightSync), PhaseDeadlines::kWarmUp);
}

TEST(PhaseDeadlinesTest, ARestartOfTheServiceWithinARolloutIsNoHang) {
  RlRun run;
  run.MakeSteps(10);
  run.Enter(Phase::kRollout);
  run.Stay(seconds(100));
  run.RestartService();
  EXPECT_EQ(run.DeadlineIn(Phase::kRollout), PhaseDeadlines::kRolloutWarmUp);
}

TEST(PhaseDeadlinesTest, LengthsThatGrowAreFollowed) {
  HangOptions options;
  RlRun run(options);
  Duration rollout = seconds(30);
  for (std::size_t step = 0; step < 40; ++step) {
    Plan plan = kUsual;
    plan[0].second = rollout;
    if (step >= PhaseDeadlines::kEnoughSteps) {
      EXPECT_GT(run.DeadlineIn(Phase::kRollout), rollout) << step;
    }
    run.MakeSteps(1, plan);
    rollout += rollout / 10;  // 45 times as long in the end: 23 min.
  }
  // Beyond timeout_max, as twice the longest has been seen.
  EXPECT_GT(run.DeadlineIn(Phase::kRollout), options.maximum);
}

TEST(PhaseDeadlinesTest, ARunWithoutRlPhasesKeepsTheDeadlineOfItsSteps) {
  RlRun run;
  run.MakeSteps(40, {{Phase::kForward, milliseconds(500)},
                     {Phase::kBackward, milliseconds(500)}});
  EXPECT_EQ(run.DeadlineIn(Phase::kForward), seconds(10));
  EXPECT_EQ(PhaseDeadlines().Of(Phase::kForward, 5, minutes(30)), std::nullopt);
}

TEST(PhaseDeadlinesTest, AnotherAttemptIsNoTurnOfTheLast) {
  PhaseDeadlines deadlines;
  deadlines.Begin(1);
  RankState rank;
  rank.rank = Rank{0};
  rank.phase = Phase::kRollout;
  MonoTime now{};
  for (int step = 0; step < 8; ++step) {
    rank.step = Step{step};
    ++rank.phase_seq;
    deadlines.Observe(rank, now);
    now += seconds(20);
  }
  const auto before = deadlines.Of(Phase::kRollout, 5, minutes(30));
  deadlines.Begin(1);
  now += std::chrono::hours(5);  // The run was halted meanwhile.
  for (int step = 3; step < 6; ++step) {
    rank.step = Step{step};
    ++rank.phase_seq;
    deadlines.Observe(rank, now);
    now += seconds(20);
  }
  EXPECT_EQ(deadlines.Of(Phase::kRollout, 5, minutes(30)), before);
}

TEST(PhaseDeadlinesTest, AMissedPhaseTeachesNoMoreThanWasSeen) {
  PhaseDeadlines deadlines;
  deadlines.Begin(1);
  RankState rank;
  rank.rank = Rank{0};
  rank.phase = Phase::kRollout;
  MonoTime now{};
  for (int step = 0; step < 8; ++step) {
    rank.step = Step{step};
    ++rank.phase_seq;
    deadlines.Observe(rank, now);
    now += seconds(20);
    deadlines.Observe(rank, now);
    now += minutes(20);  // Cut off, and other phases came and went.
    rank.phase_seq += 3;
  }
  ExpectAbout(*deadlines.Of(Phase::kRollout, 5, minutes(30)), seconds(100));
}

}  // namespace
}  // namespace steadyrun
