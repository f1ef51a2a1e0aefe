#include "server/incident/inhibition.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr MonoTime kOnset{seconds(1000)};
using K = IncidentKind;
using R = Relation;

OpenCause Open(K kind, Culprit culprit = {"a", Rank{0}}) {
  OpenCause open;
  open.kind = kind;
  open.attempt = AttemptId{3};
  open.culprit = std::move(culprit);
  open.step = Step{100};
  open.onset = kOnset;
  open.is_independent = kind == K::kNodeLost;
  return open;
}

Finding New(K kind, Culprit culprit, Duration after = seconds(2)) {
  Finding finding;
  finding.kind = kind;
  finding.run = "run";
  finding.attempt = AttemptId{3};
  finding.culprit = std::move(culprit);
  finding.step = Step{100};
  finding.onset.mono = kOnset + after;
  finding.is_independent = kind == K::kNodeLost;
  return finding;
}

// The table of inhibition.h, cell by cell: open on node a, new on node b, no
// flags, two seconds later.
TEST(InhibitionTest, TheTableForAnotherNodeLater) {
  const K kinds[] = {K::kCrash, K::kHang, K::kNodeLost, K::kNan,
                     K::kStartFailed};
  const R expected[5][5] = {
      // open: crash, hang, node_lost, nan, start_failed
      {R::kVictim, R::kVictim, R::kVictim, R::kVictim, R::kVictim},     // crash
      {R::kVictim, R::kSameCause, R::kVictim, R::kVictim, R::kVictim},  // hang
      {R::kIndependent, R::kIndependent, R::kIndependent, R::kIndependent,
       R::kIndependent},  // node_lost
      {R::kBetterCause, R::kIndependent, R::kIndependent, R::kSameCause,
       R::kIndependent},  // nan
      {R::kVictim, R::kVictim, R::kVictim, R::kVictim,
       R::kSameCause},  // start_failed
  };
  for (std::size_t fresh = 0; fresh < 5; ++fresh) {
    for (std::size_t open = 0; open < 5; ++open) {
      EXPECT_EQ(Relate(Open(kinds[open]), New(kinds[fresh], {"b", Rank{2}})),
                expected[fresh][open])
          << IncidentKindName(kinds[fresh]) << " after "
          << IncidentKindName(kinds[open]);
    }
  }
}

TEST(InhibitionTest, ALostNodeExplainsWhatHappenedOnIt) {
  for (const K kind : {K::kCrash, K::kHang, K::kStartFailed}) {
    EXPECT_EQ(Relate(Open(kind), New(K::kNodeLost, {"a", kNoRank})),
              R::kBetterCause);
    // And what has no known culprit.
    EXPECT_EQ(
        Relate(Open(kind, {"", kNoRank}), New(K::kNodeLost, {"b", kNoRank})),
        R::kBetterCause);
  }
  EXPECT_EQ(Relate(Open(K::kNodeLost, {"a", kNoRank}),
                   New(K::kNodeLost, {"a", kNoRank})),
            R::kSameCause);
}

TEST(InhibitionTest, ALostNodeExplainsVictimsElsewhere) {
  OpenCause victims = Open(K::kCrash);
  victims.is_provisional = true;
  victims.is_victim = true;
  EXPECT_EQ(Relate(victims, New(K::kNodeLost, {"b", kNoRank}, seconds(30))),
            R::kBetterCause);
}

TEST(InhibitionTest, ANodeThatFellSilentFirstExplainsLaterExceptions) {
  const OpenCause exception = Open(K::kCrash);
  EXPECT_EQ(
      Relate(exception, New(K::kNodeLost, {"b", kNoRank}, milliseconds(-400))),
      R::kBetterCause);
  EXPECT_EQ(
      Relate(exception, New(K::kNodeLost, {"b", kNoRank}, milliseconds(900))),
      R::kBetterCause);
  EXPECT_EQ(Relate(exception, New(K::kNodeLost, {"b", kNoRank}, seconds(2))),
            R::kIndependent);
  // But not a rank that was killed from outside: that is a second fault.
  OpenCause killed = Open(K::kCrash);
  killed.is_independent = true;
  EXPECT_EQ(
      Relate(killed, New(K::kNodeLost, {"b", kNoRank}, milliseconds(-400))),
      R::kIndependent);
}

TEST(InhibitionTest, BetterAttributionReplacesAPresumption) {
  OpenCause presumed = Open(K::kCrash);
  presumed.is_provisional = true;
  EXPECT_EQ(Relate(presumed, New(K::kCrash, {"a", Rank{0}})), R::kSameCause);
  EXPECT_EQ(Relate(presumed, New(K::kCrash, {"b", Rank{2}})), R::kBetterCause);
  // What stands is not talked down.
  EXPECT_EQ(Relate(Open(K::kCrash), New(K::kCrash, {"b", Rank{2}})),
            R::kVictim);
}

TEST(InhibitionTest, AKilledRankOnAnotherNodeIsAFaultOfItsOwn) {
  Finding killed = New(K::kCrash, {"b", Rank{2}});
  killed.is_independent = true;
  for (const K kind : {K::kCrash, K::kHang, K::kNodeLost, K::kNan}) {
    EXPECT_EQ(Relate(Open(kind), killed), R::kIndependent);
  }
  Finding same_node = New(K::kCrash, {"a", Rank{1}});
  same_node.is_independent = true;
  for (const K kind : {K::kCrash, K::kHang, K::kNodeLost, K::kNan}) {
    EXPECT_EQ(Relate(Open(kind), same_node), R::kVictim);
  }
}

TEST(InhibitionTest, NanExplainsAnAssertionAtItsStep) {
  OpenCause crash = Open(K::kCrash);
  Finding nan = New(K::kNan, {"b", Rank{2}});
  for (const std::int64_t step : {90, 100, 101}) {
    nan.step = Step{step};
    EXPECT_EQ(Relate(crash, nan), R::kBetterCause) << step;
  }
  nan.step = Step{102};
  EXPECT_EQ(Relate(crash, nan), R::kIndependent);
  nan.step = Step{100};
  crash.is_independent = true;
  EXPECT_EQ(Relate(crash, nan), R::kIndependent);
}

TEST(InhibitionTest, AnotherAttemptIsAnotherStory) {
  for (const K kind : {K::kCrash, K::kHang, K::kNodeLost, K::kNan}) {
    Finding later = New(kind, {"a", Rank{0}});
    later.attempt = AttemptId{4};
    EXPECT_EQ(Relate(Open(kind), later), R::kIndependent);
  }
}

TEST(InhibitionTest, CausesOfTheTrainingTakeOverWhatTheyCause) {
  const Culprit nobody;
  const std::pair<K, K> pairs[] = {{K::kNan, K::kLossSpike},
                                   {K::kLossSpike, K::kGradExplosion},
                                   {K::kDivergence, K::kLossSpike},
                                   {K::kStraggler, K::kSlowdown},
                                   {K::kDataStall, K::kSlowdown},
                                   {K::kRolloutMismatch, K::kKlBlowup},
                                   {K::kRewardHacking, K::kLengthExplosion}};
  for (const auto& [cause, effect] : pairs) {
    EXPECT_EQ(Relate(Open(effect, nobody), New(cause, nobody)),
              R::kBetterCause);
    EXPECT_EQ(Relate(Open(cause, nobody), New(effect, nobody)), R::kVictim);
  }
  EXPECT_EQ(Relate(Open(K::kLossSpike, nobody), New(K::kSlowdown, nobody)),
            R::kIndependent);
  EXPECT_EQ(Relate(Open(K::kCrash), New(K::kStraggler, {"a", Rank{0}})),
            R::kIndependent);
}

TEST(InhibitionTest, TwoSlowRanksAreTwoStories) {
  EXPECT_EQ(Relate(Open(K::kStraggler), New(K::kStraggler, {"a", Rank{0}})),
            R::kSameCause);
  EXPECT_EQ(Relate(Open(K::kStraggler), New(K::kStraggler, {"a", Rank{1}})),
            R::kIndependent);
}

TEST(InhibitionTest, ConditionsStandBesideFaults) {
  const K conditions[] = {K::kAgentLost, K::kCheckpointBad,
                          K::kCheckpointOverdue, K::kStorage};
  for (const K condition : conditions) {
    EXPECT_FALSE(EndsAttempt(condition));
    EXPECT_EQ(Relate(Open(K::kCrash), New(condition, {"a", kNoRank})),
              R::kIndependent);
    EXPECT_EQ(Relate(Open(condition), New(K::kCrash, {"a", Rank{0}})),
              R::kIndependent);
    EXPECT_EQ(
        Relate(Open(condition, {"a", kNoRank}), New(condition, {"a", kNoRank})),
        R::kSameCause);
    EXPECT_EQ(
        Relate(Open(condition, {"a", kNoRank}), New(condition, {"b", kNoRank})),
        condition == K::kCheckpointBad ? R::kSameCause : R::kIndependent);
  }
  Finding other_checkpoint = New(K::kCheckpointBad, {"a", Rank{0}});
  other_checkpoint.step = Step{50};
  EXPECT_EQ(Relate(Open(K::kCheckpointBad), other_checkpoint), R::kIndependent);
  EXPECT_EQ(Relate(Open(K::kAgentLost, {"a", kNoRank}),
                   New(K::kNodeLost, {"a", kNoRank})),
            R::kBetterCause);
  EXPECT_EQ(Relate(Open(K::kAgentLost, {"a", kNoRank}),
                   New(K::kNodeLost, {"b", kNoRank})),
            R::kIndependent);
  EXPECT_EQ(Relate(Open(K::kNodeLost, {"a", kNoRank}),
                   New(K::kAgentLost, {"a", kNoRank})),
            R::kVictim);
}

}  // namespace
}  // namespace steadyrun
