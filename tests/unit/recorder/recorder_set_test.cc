#include "agent/recorder/recorder_set.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/unit/recorder/writer.h"

namespace steadyrun::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const AttemptId kAttempt{3};

class RecorderSetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int rank = 0; rank < 2; ++rank) {
      paths_.push_back(TempPath("set" + std::to_string(rank)));
      ASSERT_TRUE(CreateRecorder(paths_.back(), SpecOf(rank, 64)).ok());
      trainers_.push_back(std::make_unique<RawWriter>(paths_.back(), 64));
    }
    Restart();
  }
  void Restart() {
    set_ = std::make_unique<RecorderSet>(RecorderSetOptions{}, ProcessTable());
    for (int rank = 0; rank < 2; ++rank) {
      ASSERT_TRUE(
          set_->Add(paths_[static_cast<std::size_t>(rank)], SpecOf(rank, 64))
              .ok());
    }
  }
  RawWriter& trainer(std::size_t rank) { return *trainers_[rank]; }

  // What the last Poll said, by kind.
  RecorderReadings Poll() {
    now_ += std::chrono::milliseconds(10);
    return set_->Poll(Now{now_, WallTime{}});
  }
  template <typename T>
  static std::vector<T> Of(const RecorderReadings& readings) {
    std::vector<T> found;
    for (const Event& event : readings.events) {
      if (const T* match = std::get_if<T>(&event)) found.push_back(*match);
    }
    return found;
  }
  void BothStep(int step) {
    trainer(0).Step(step, 1.0f);
    trainer(1).Step(step, 2.0f);
  }
  WriteSaveWord Save(int step, std::uint64_t seq, bool stop = false) const {
    return {"id", "run-1", kAttempt, SaveCommand{Step{step}, stop, seq}};
  }
  Now Time() const { return {now_, WallTime{}}; }

  std::vector<std::string> paths_;
  std::vector<std::unique_ptr<RawWriter>> trainers_;
  std::unique_ptr<RecorderSet> set_;
  MonoTime now_{std::chrono::seconds(1000)};
};

TEST_F(RecorderSetTest, JoinsTheStepsOfTheNode) {
  BothStep(1);
  BothStep(2);

  const auto blocks = Of<StepsRead>(Poll());

  ASSERT_THAT(blocks, SizeIs(2));
  EXPECT_EQ(blocks[1].block.step, Step{2});
  EXPECT_THAT(blocks[1].block.ranks, ElementsAre(0, 1));
  EXPECT_THAT(blocks[1].block.values, ElementsAre(1.0f, 2.0f));
  EXPECT_THAT(Of<StepsRead>(Poll()), IsEmpty());
}

TEST_F(RecorderSetTest, ObservesEachRank) {
  trainer(0).Step(5, 1.0f);
  trainer(0).writer()->phase = 7;
  trainer(0).writer()->phase_seq = 3;
  trainer(0).writer()->progress_mono_ns = 999'000'000'000u;

  const auto observed = Of<RankObserved>(Poll());

  ASSERT_THAT(observed, SizeIs(2));
  const RankState& state = observed[0].state;
  EXPECT_EQ(state.rank, Rank{0});
  EXPECT_EQ(state.attempt, kAttempt);
  EXPECT_EQ(state.life, RankLife::kAlive);
  EXPECT_EQ(state.step, Step{5});
  EXPECT_EQ(state.phase, Phase::kCheckpoint);
  EXPECT_EQ(state.phase_seq, 3u);
  EXPECT_NEAR(ToSeconds(state.progress_age), 1.01, 0.001);
}

// What a rank says of where it stands is read once it stands still.
TEST_F(RecorderSetTest, TellsWhereARankStandsStill) {
  srun_standstill& here = *trainer(0).standstill();
  std::strcpy(here.positions[0].group, "tp:0-1");
  here.positions[0].entered = 7;  // Kept by the training code.
  std::strcpy(here.positions[1].group, "0:0-3");
  here.positions[1].entered = 812;  // As of mono_ns, as the stack.
  std::strcpy(here.positions[2].group, "1:0,2");
  here.groups_used = 1;
  std::strcpy(here.stack[0], "spin (train.py:77)");
  std::strcpy(here.stack[1], "t\033\xff");
  here.frames = 2;
  here.mono_ns = 998'000'000'000u;
  here.seq = 5;
  const auto observe = [&](double seconds_ago) {
    trainer(0).writer()->progress_mono_ns =
        static_cast<std::uint64_t>((1000 - seconds_ago) * 1e9);
    now_ = MonoTime{std::chrono::seconds(1000)};
    Restart();
    return Of<RankObserved>(Poll())[0].state;
  };

  RankState state = observe(2.5);
  EXPECT_THAT(state.collectives, IsEmpty()) << "it may be a long step";
  EXPECT_THAT(state.stack, IsEmpty());
  EXPECT_EQ(state.stack_age, Duration::zero()) << "not a byte is sent";

  state = observe(5);
  EXPECT_THAT(state.collectives, ElementsAre(CollectivePosition{"tp:0-1", 7},
                                             CollectivePosition{"0:0-3", 812},
                                             CollectivePosition{"1:0,2", 0}))
      << "none entered yet is a place too";
  EXPECT_THAT(state.stack, ElementsAre("spin (train.py:77)", "t??"));
  EXPECT_NEAR(ToSeconds(state.stack_age), 2.01, 0.001);

  // Taken in an earlier standstill: only what is always current counts.
  here.mono_ns = 900'000'000'000u;
  state = observe(5);
  EXPECT_THAT(state.collectives, ElementsAre(CollectivePosition{"tp:0-1", 7}));
  EXPECT_THAT(state.stack, IsEmpty());

  // Being replaced, and counters that lie.
  here.mono_ns = 998'000'000'000u;
  here.seq = 0;
  here.frames = ~0u;
  state = observe(5);
  EXPECT_THAT(state.stack, IsEmpty());
  EXPECT_THAT(state.collectives, ElementsAre(CollectivePosition{"tp:0-1", 7}));
  here.groups_used = ~0u;
  EXPECT_THAT(observe(5).collectives, SizeIs(3)) << "the others have no name";
}

TEST_F(RecorderSetTest, StateAndCpuTimeComeFromTheProcess) {
  set_->SetPid("run-1", kAttempt, Rank{0}, ::getpid());

  const auto observed = Of<RankObserved>(Poll());

  ASSERT_THAT(observed, SizeIs(2));
  EXPECT_EQ(observed[0].state.pid, ::getpid());
  EXPECT_EQ(observed[0].state.process_state, 'R');
  EXPECT_EQ(observed[1].state.process_state, 0);
}

TEST_F(RecorderSetTest, AFollowedLogSpeaksForARankWithoutTheLibrary) {
  trainer(1).writer()->pid = 0;
  set_->SetLogStep("run-1", kAttempt, Rank{1}, Step{40}, Time());

  const auto observed = Of<RankObserved>(Poll());

  ASSERT_THAT(observed, SizeIs(2));
  EXPECT_EQ(observed[1].state.step, Step{40});
  EXPECT_EQ(observed[1].state.phase, Phase::kStep);
  EXPECT_EQ(observed[1].state.life, RankLife::kAlive);
  EXPECT_NEAR(ToSeconds(observed[1].state.progress_age), 0.01, 0.001);
}

TEST_F(RecorderSetTest, TellsOfSavedCheckpointsAndOfTheEndAfterTheSteps) {
  trainer(0).Step(9, 1.0f);
  trainer(0).Event(SRUN_EVENT_CHECKPOINT_SAVED, 9, "/ckpt/9/rank-0");
  trainer(0).Event(SRUN_EVENT_FINISHED, 9, std::string(64, 'a'));

  const auto first = Poll();
  ASSERT_THAT(first.saved, SizeIs(1));
  EXPECT_EQ(first.saved[0].path, "/ckpt/9/rank-0");
  EXPECT_EQ(first.saved[0].step, Step{9});
  EXPECT_EQ(first.saved[0].shards, 2);
  EXPECT_THAT(Of<RankSaidFinished>(first), IsEmpty()) << "step 9 is held";

  now_ += std::chrono::milliseconds(300);
  const auto second = Poll();
  ASSERT_THAT(Of<StepsRead>(second), SizeIs(1));
  ASSERT_THAT(Of<RankSaidFinished>(second), SizeIs(1));
  EXPECT_EQ(Of<RankSaidFinished>(second)[0].finished.parameters_sha256,
            std::string(64, 'a'));
}

TEST_F(RecorderSetTest, RemovalTellsEverythingThatIsLeft) {
  trainer(0).Step(3, 1.0f);
  trainer(0).Event(SRUN_EVENT_FINISHED, 3, "");

  const auto last = set_->Remove("run-1", kAttempt, Rank{0}, Time());

  EXPECT_THAT(Of<StepsRead>(last), SizeIs(1));
  EXPECT_THAT(Of<RankSaidFinished>(last), SizeIs(1));
  EXPECT_EQ(set_->size(), 1u);
}

TEST_F(RecorderSetTest, ARestartedAgentReadsOnWhereTheSpoolEnds) {
  BothStep(1);
  ASSERT_THAT(Of<StepsRead>(Poll()), SizeIs(1));
  set_->CommitCursors();
  BothStep(2);
  ASSERT_THAT(Of<StepsRead>(Poll()), SizeIs(1));  // Not durable: read again.

  Restart();
  BothStep(3);
  const auto blocks = Of<StepsRead>(Poll());

  ASSERT_THAT(blocks, SizeIs(2));
  EXPECT_EQ(blocks[0].block.step, Step{2});
  EXPECT_EQ(blocks[1].block.step, Step{3});
}

TEST_F(RecorderSetTest, StepsHeldForASlowRankAreNotPassedByTheCursor) {
  trainer(0).Step(1, 1.0f);
  ASSERT_THAT(Of<StepsRead>(Poll()), IsEmpty());
  set_->CommitCursors();

  Restart();
  trainer(1).Step(1, 2.0f);
  const auto blocks = Of<StepsRead>(Poll());

  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_THAT(blocks[0].block.ranks, ElementsAre(0, 1));
}

TEST_F(RecorderSetTest, AShardIsToldAgainUntilItsReportIsDurable) {
  trainer(0).Event(SRUN_EVENT_CHECKPOINT_SAVED, 9, "/ckpt/9");
  const auto first = Poll();
  ASSERT_THAT(first.saved, SizeIs(1));
  set_->CommitCursors();

  Restart();
  const auto again = Poll();
  ASSERT_THAT(again.saved, SizeIs(1));
  set_->MarkSavedReported(again.saved[0]);
  set_->CommitCursors();
  Restart();

  EXPECT_THAT(Poll().saved, IsEmpty());
}

TEST_F(RecorderSetTest, ADamagedCursorMeansFromTheBeginning) {
  BothStep(1);
  Poll();
  set_->CommitCursors();
  const std::string cursor = paths_[0] + ".cursor";
  const int fd = ::open(cursor.c_str(), O_WRONLY);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::pwrite(fd, "\xff", 1, 9), 1);
  ::close(fd);

  Restart();
  now_ += std::chrono::seconds(1);
  Poll();
  now_ += std::chrono::seconds(1);

  EXPECT_THAT(Of<StepsRead>(Poll()), SizeIs(1)) << "rank 0 reads step 1 again";
}

TEST_F(RecorderSetTest, WhenTheRingWentRoundTheRestIsReadAndTheLossIsSaid) {
  for (int step = 0; step < 100; ++step) BothStep(step);

  const auto readings = Poll();

  EXPECT_THAT(Of<StepsRead>(readings), SizeIs(64));
  EXPECT_EQ(Of<StepsRead>(readings)[0].block.step, Step{36});
  EXPECT_THAT(readings.log, ::testing::Contains(HasSubstr("lost_steps=36")));
}

// --- The save word.

TEST_F(RecorderSetTest, TheSaveWordReachesEveryRank) {
  BothStep(10);

  const auto answer = set_->WriteSave(Save(15, 4, true), Time());

  EXPECT_EQ(answer.error, "");
  EXPECT_FALSE(answer.is_missed);
  for (std::size_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(trainer(rank).command()->seq, 4u);
    EXPECT_EQ(trainer(rank).command()->step, 15);
    EXPECT_EQ(trainer(rank).command()->action,
              static_cast<std::uint32_t>(SRUN_ACTION_SAVE_STOP));
  }
}

TEST_F(RecorderSetTest, ASaveForAStepThatARankHasDoneIsMissedByAll) {
  BothStep(10);
  trainer(1).Step(11, 1.0f);

  const auto answer = set_->WriteSave(Save(11, 4), Time());

  EXPECT_TRUE(answer.is_missed);
  EXPECT_THAT(answer.error, HasSubstr("rank 1 has done step 11"));
  EXPECT_EQ(trainer(0).command()->seq, 0u) << "all or none";
}

TEST_F(RecorderSetTest, ASaveThatIsSentAgainAfterItWasReadIsNotMissed) {
  BothStep(10);
  ASSERT_EQ(set_->WriteSave(Save(12, 4), Time()).error, "");
  BothStep(12);
  trainer(0).writer()->command_ack_seq = 4;
  trainer(1).writer()->command_ack_seq = 4;

  const auto answer = set_->WriteSave(Save(12, 4), Time());

  EXPECT_FALSE(answer.is_missed) << answer.error;
}

TEST_F(RecorderSetTest, ASaveCannotReachCodeWithoutTheLibrary) {
  trainer(1).writer()->pid = 0;

  EXPECT_THAT(set_->WriteSave(Save(12, 4), Time()).error,
              HasSubstr("has not called steadyrun.init()"));
  WriteSaveWord other = Save(12, 4);
  other.attempt = AttemptId{9};
  EXPECT_THAT(set_->WriteSave(other, Time()).error, HasSubstr("no rank"));
}

TEST_F(RecorderSetTest, AnOlderSaveWordDoesNotReplaceANewerOne) {
  BothStep(1);
  ASSERT_EQ(set_->WriteSave(Save(12, 4), Time()).error, "");

  EXPECT_THAT(set_->WriteSave(Save(13, 3), Time()).error,
              HasSubstr("already has save word 4"));
  EXPECT_EQ(trainer(0).command()->step, 12);
}

// --- Hostile trainers.

TEST_F(RecorderSetTest, NonsenseIsSkippedAndDoesNotStallTheReader) {
  trainer(0).Step(-5, 1.0f);
  trainer(0).Step(2'000'000'000'000, 1.0f);
  trainer(0).Step(1, 1.0f)->named_count = ~0u;
  trainer(0).Step(2, 1.0f)->seq = 999;
  BothStep(3);
  trainer(0).Event(77, 1, "what");
  trainer(0).Event(SRUN_EVENT_CHECKPOINT_SAVED, 1, "relative/path");
  trainer(0).Event(SRUN_EVENT_CHECKPOINT_SAVED, 3, "/good");
  trainer(0).event(2)->text_bytes = 5;

  auto readings = Poll();
  now_ += std::chrono::seconds(1);
  for (Event& event : Poll().events) {
    readings.events.push_back(std::move(event));
  }

  std::vector<Step> steps;
  for (const StepsRead& read : Of<StepsRead>(readings)) {
    steps.push_back(read.block.step);
  }
  EXPECT_THAT(steps, ElementsAre(Step{1}, Step{3}));
  ASSERT_THAT(readings.saved, SizeIs(1));
  EXPECT_EQ(readings.saved[0].path, "/good");
}

TEST_F(RecorderSetTest, CountersThatLieCostNothingButTheirSteps) {
  BothStep(1);
  Poll();
  trainer(0).writer()->steps_written = ~0ull;
  Poll();
  trainer(0).writer()->steps_written = 1;
  Poll();

  BothStep(2);

  EXPECT_THAT(Of<StepsRead>(Poll()), SizeIs(1));
}

TEST_F(RecorderSetTest, SurvivesRandomBytes) {
  std::mt19937_64 random(42);
  for (int round = 0; round < 200; ++round) {
    RawWriter& victim = trainer(static_cast<std::size_t>(round % 2));
    for (int i = 0; i < 400; ++i) {
      // Everything behind the agent's own header page.
      const std::size_t at =
          SRUN_WRITER_OFFSET + random() % (victim.size() - SRUN_WRITER_OFFSET);
      victim.bytes()[at] = static_cast<char>(random());
    }
    const auto readings = Poll();
    for (const StepsRead& read : Of<StepsRead>(readings)) {
      const StepBlock& block = read.block;
      ASSERT_EQ(block.values.size(), block.metrics.size() * block.ranks.size());
      ASSERT_GE(block.step, Step{0});
      for (const std::string& name : block.names) ASSERT_FALSE(name.empty());
    }
    for (const RankObserved& seen : Of<RankObserved>(readings)) {
      ASSERT_GE(seen.state.phase_age, Duration::zero());
      ASSERT_GE(seen.state.progress_age, Duration::zero());
      ASSERT_GE(seen.state.step, kNoStep);
    }
    set_->WriteSave(Save(round, static_cast<std::uint64_t>(round)), Time());
  }
}

TEST_F(RecorderSetTest, TheAgentsLogIsNotFloodedByOneRank) {
  std::size_t lines = 0;
  for (int i = 0; i < 200; ++i) {
    trainer(0).Step(-1, 0);
    lines += Poll().log.size();
  }

  EXPECT_LE(lines, 20u);
}

}  // namespace
}  // namespace steadyrun::agent
