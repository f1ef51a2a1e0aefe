#include "agent/core/run_table.h"

#include <gtest/gtest.h>

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr MonoTime kStart{std::chrono::hours(1)};

RankState Seen(std::int64_t attempt, int rank, RankLife life,
               std::int64_t step) {
  RankState state;
  state.attempt = AttemptId{attempt};
  state.rank = Rank{rank};
  state.life = life;
  state.step = Step{step};
  return state;
}

TEST(RunTableTest, AgesGrowUntilTheHeartbeat) {
  RunTable table;
  RankState seen = Seen(1, 0, RankLife::kAlive, 5);
  seen.phase_age = seconds(2);
  seen.progress_age = milliseconds(300);
  table.Observe("run", seen, kStart);

  const auto states = table.States("run", kStart + seconds(1));

  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0].phase_age, seconds(3));
  EXPECT_EQ(states[0].progress_age, milliseconds(1300));
}

TEST(RunTableTest, TellsHowLongAgoARankEnded) {
  RunTable table;
  table.Observe("run", Seen(1, 0, RankLife::kAlive, 5), kStart);
  RankEntry* entry = table.Find("run", AttemptId{1}, Rank{0});
  EXPECT_EQ(table.States("run", kStart)[0].exit_age, Duration::zero());

  entry->seen.life = RankLife::kExited;
  entry->exited_at = kStart + milliseconds(40);

  EXPECT_EQ(table.States("run", kStart + seconds(1))[0].exit_age,
            milliseconds(960));
}

// Else its last word would be sent for as long as the run is known here.
TEST(RunTableTest, ARankThatEndedStandsNowhere) {
  RunTable table;
  RankState seen = Seen(1, 0, RankLife::kAlive, 5);
  seen.collectives = {{"dp", 812}};
  seen.stack = {"spin (train.py:77)"};
  seen.stack_age = seconds(1);
  table.Observe("run", seen, kStart);
  RankState state = table.States("run", kStart + seconds(1))[0];
  EXPECT_EQ(state.collectives, seen.collectives);
  EXPECT_EQ(state.stack_age, seconds(2));

  table.Find("run", AttemptId{1}, Rank{0})->seen.life = RankLife::kExited;

  state = table.States("run", kStart + seconds(1))[0];
  EXPECT_TRUE(state.collectives.empty());
  EXPECT_TRUE(state.stack.empty());
  EXPECT_EQ(state.stack_age, Duration::zero());
}

TEST(RunTableTest, AnExitedRankStaysExited) {
  RunTable table;
  table.Observe("run", Seen(1, 0, RankLife::kExited, 5), kStart);

  table.Observe("run", Seen(1, 0, RankLife::kAlive, 6), kStart);

  EXPECT_FALSE(table.HasLive("run"));
  EXPECT_EQ(table.Find("run", AttemptId{1}, Rank{0})->seen.step, Step{5});
}

TEST(RunTableTest, AStepIsNeverTakenBack) {
  RunTable table;
  table.Observe("run", Seen(1, 0, RankLife::kAlive, 5), kStart);

  table.Observe("run", Seen(1, 0, RankLife::kStarting, -1), kStart);

  const RankState& seen = table.Find("run", AttemptId{1}, Rank{0})->seen;
  EXPECT_EQ(seen.step, Step{5});
  EXPECT_EQ(seen.life, RankLife::kAlive);
}

TEST(RunTableTest, TellsOlderAttemptsFromTheCurrentOne) {
  RunTable table;
  table.Observe("run", Seen(1, 0, RankLife::kAlive, 5), kStart);
  table.Observe("run", Seen(2, 0, RankLife::kAlive, 5), kStart);

  EXPECT_TRUE(table.HasLiveBelow("run", AttemptId{2}));
  EXPECT_FALSE(table.HasLiveBelow("run", AttemptId{1}));
  EXPECT_EQ(table.LiveBelow("run", AttemptId{3}).size(), 2u);
  EXPECT_EQ(table.LiveOf("run", AttemptId{2}).size(), 1u);
}

TEST(RunTableTest, PruningSparesTheLiving) {
  RunTable table;
  table.Observe("run", Seen(1, 0, RankLife::kExited, 5), kStart);
  table.Observe("run", Seen(1, 1, RankLife::kAlive, 5), kStart);

  table.PruneBelow("run", AttemptId{2});

  EXPECT_EQ(table.States("run", kStart).size(), 1u);
  EXPECT_TRUE(table.HasLive("run"));
}

}  // namespace
}  // namespace steadyrun::agent
