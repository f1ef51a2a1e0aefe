#include "fleet/sim/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace steadyrun::fleet {
namespace {

constexpr MonoTime kStart{std::chrono::seconds(1000)};

JobOptions SmallJob(std::vector<Fault> faults, std::int64_t steps = 60) {
  JobOptions options;
  options.run = "small";
  options.profile = HealthyProfile().Paced(0.05);
  options.profile.phases.checkpoint_steps = 20;
  options.ranks = 32;
  options.steps = steps;
  options.seed = 9;
  options.faults = std::move(faults);
  return options;
}

Fault At(FaultKind kind, std::int64_t onset, double variant) {
  Fault fault;
  fault.id = 1;
  fault.kind = kind;
  fault.onset = Step{onset};
  fault.rank = Rank{8};
  fault.ranks = StopsTheJob(kind) && kind != FaultKind::kNodeLost ? 1 : 8;
  fault.variant = variant;
  return fault;
}

std::vector<NodeId> Nodes() {
  std::vector<NodeId> nodes;
  for (int rank = 0; rank < 32; ++rank) {
    nodes.push_back("node-" + std::to_string(rank / 8));
  }
  return nodes;
}

struct Played {
  std::vector<Happening> happenings;
  template <typename T>
  std::vector<const T*> Of() const {
    std::vector<const T*> found;
    for (const Happening& happening : happenings) {
      if (auto* what = std::get_if<T>(&happening.what)) found.push_back(what);
    }
    return found;
  }
};

Played Play(Job& job, Duration most = std::chrono::hours(1)) {
  Played played;
  job.Begin(AttemptId{1}, Nodes(), kNoStep,
            {kStart, FromUnixMillis(1'000'000)});
  while (job.NextAt() <= kStart + most) {
    job.Advance(job.NextAt(), &played.happenings);
  }
  return played;
}

TEST(Job, MakesAllStepsSavesAndEnds) {
  Job job(SmallJob({}));
  const Played played = Play(job);
  EXPECT_TRUE(job.IsFinished());
  EXPECT_EQ(played.Of<StepRow>().size(), 60u);
  EXPECT_EQ(played.Of<CheckpointShard>().size(), 3u * 32);
  EXPECT_EQ(job.LastSaved(), Step{60});
  EXPECT_EQ(played.Of<RankFinished>().size(), 32u);
  ASSERT_EQ(played.Of<RankExited>().size(), 32u);
  EXPECT_EQ(played.Of<RankExited>()[0]->exit, ExitStatus{});
  EXPECT_TRUE(std::ranges::is_sorted(played.happenings, {}, &Happening::at));
}

TEST(Job, IsDeterministic) {
  Job one(SmallJob({At(FaultKind::kCrash, 30, 0.4)}));
  Job two(SmallJob({At(FaultKind::kCrash, 30, 0.4)}));
  const Played first = Play(one);
  const Played second = Play(two);
  ASSERT_EQ(first.happenings.size(), second.happenings.size());
  for (std::size_t i = 0; i < first.happenings.size(); ++i) {
    EXPECT_EQ(first.happenings[i].at, second.happenings[i].at);
    EXPECT_EQ(first.happenings[i].node, second.happenings[i].node);
  }
}

TEST(Job, ACrashTakesItsPeersAlongWithinTheCascade) {
  Job job(SmallJob({At(FaultKind::kCrash, 30, 0.4)}));
  const Played played = Play(job);
  EXPECT_EQ(job.LastStep(), Step{29});
  const Fault& fault = job.Faults()[0];
  ASSERT_TRUE(fault.has_struck);
  EXPECT_EQ(fault.node, "node-1");
  EXPECT_EQ(fault.comment, "SIGKILL");
  const auto exits = played.Of<RankExited>();
  ASSERT_EQ(exits.size(), 32u);
  std::set<std::int64_t> ends;
  for (const Happening& happening : played.happenings) {
    const auto* exit = std::get_if<RankExited>(&happening.what);
    if (exit == nullptr) continue;
    EXPECT_GE(happening.at, fault.struck);
    EXPECT_LT(ToSeconds(happening.at - fault.struck), 0.301 + 0.2);
    EXPECT_EQ(exit->step, Step{29});
    if (exit->rank == Rank{8}) {
      EXPECT_FALSE(exit->is_secondary);
    }
    ends.insert(exit->exit_unix_ms);
  }
  // Clocks of +-2 s: wall times of the exits spread far beyond the cascade.
  EXPECT_GT(*ends.rbegin() - *ends.begin(), 400);
  EXPECT_GT(std::ranges::count_if(
                exits, [](const RankExited* e) { return e->is_secondary; }),
            25);
}

TEST(Job, AHungRankStandsWhereTheOthersDoNot) {
  // The digits behind the third choose the trace it leaves.
  Job job(SmallJob({At(FaultKind::kHang, 30, 0.1003)}));
  const Played played = Play(job);
  EXPECT_EQ(job.Faults()[0].comment, "stands in its forward pass");
  const MonoTime later = job.Faults()[0].struck + std::chrono::seconds(20);
  const RankState hung = job.StateOf(8, later);
  const RankState other = job.StateOf(9, later);
  EXPECT_EQ(hung.step, other.step);
  EXPECT_LT(hung.phase_seq, other.phase_seq);
  EXPECT_GT(hung.progress_age, std::chrono::seconds(15));
  EXPECT_TRUE(job.IsDisturbed(later));
}

TEST(Job, ALostNodeIsSilentForGood) {
  Job job(SmallJob({At(FaultKind::kNodeLost, 30, 0.9)}));
  const Played played = Play(job);
  const MonoTime struck = job.Faults()[0].struck;
  EXPECT_FALSE(job.IsSilent(1, struck - std::chrono::milliseconds(1)));
  EXPECT_TRUE(job.IsSilent(1, struck + std::chrono::hours(5)));
  EXPECT_FALSE(job.IsSilent(0, struck));
  EXPECT_EQ(played.Of<WentSilent>().size(), 1u);
}

TEST(Job, AnAgentComesBackAndTheStepsGoOn) {
  Fault fault = At(FaultKind::kAgentLost, 30, 0.5);
  fault.severity = 5;
  Job job(SmallJob({fault}));
  Play(job);
  EXPECT_TRUE(job.IsFinished());
  const MonoTime struck = job.Faults()[0].struck;
  EXPECT_TRUE(job.IsSilent(1, struck + std::chrono::seconds(4)));
  EXPECT_FALSE(job.IsSilent(1, struck + std::chrono::seconds(6)));
}

TEST(Job, SavesOnOrderAndLeaves) {
  Job job(SmallJob({}));
  std::vector<Happening> happenings;
  job.Begin(AttemptId{1}, Nodes(), kNoStep, {kStart, {}});
  while (job.LastStep() < Step{5}) job.Advance(job.NextAt(), &happenings);
  EXPECT_FALSE(job.OrderSave(Step{5}, false));
  EXPECT_TRUE(job.OrderSave(Step{7}, true));
  Played played;
  while (job.NextAt() != MonoTime::max()) {
    job.Advance(job.NextAt(), &played.happenings);
  }
  EXPECT_EQ(job.LastSaved(), Step{7});
  EXPECT_EQ(played.Of<RankExited>().size(), 32u);
  EXPECT_FALSE(job.IsFinished());
}

TEST(Job, KilledRanksEndOnce) {
  Job job(SmallJob({}));
  std::vector<Happening> happenings;
  job.Begin(AttemptId{1}, Nodes(), kNoStep, {kStart, {}});
  while (job.LastStep() < Step{5}) job.Advance(job.NextAt(), &happenings);
  const MonoTime now = job.NextAt();
  EXPECT_EQ(job.KillNode(2, now).size(), 8u);
  EXPECT_TRUE(job.KillNode(2, now).empty());
  EXPECT_EQ(job.StateOf(16, now).life, RankLife::kExited);
  EXPECT_TRUE(job.StateOf(16, now).killed_by_agent);
  job.Advance(now + std::chrono::hours(1), &happenings);
  EXPECT_EQ(job.LastStep(), Step{5});
}

TEST(Job, TruthNamesWhatHasStruck) {
  Job job(SmallJob(
      {At(FaultKind::kCrash, 30, 0.4), At(FaultKind::kHang, 40, 0.2)}));
  Play(job);
  const std::string csv = TruthCsv(job.Faults(), kStart);
  EXPECT_THAT(csv, ::testing::HasSubstr("\n1,crash,rank,node-1,8,1,30,"));
  EXPECT_THAT(csv, ::testing::Not(::testing::HasSubstr("hang")));
}

}  // namespace
}  // namespace steadyrun::fleet
