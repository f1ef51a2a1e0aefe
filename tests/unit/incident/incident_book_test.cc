#include "server/incident/incident_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using K = IncidentKind;

Now At(Duration after) {
  return {MonoTime(seconds(1000)) + after,
          FromUnixMillis(1'700'000'000'000) +
              std::chrono::duration_cast<milliseconds>(after)};
}

Finding Make(K kind, Culprit culprit, Duration onset,
             std::int64_t attempt = 1) {
  Finding finding;
  finding.kind = kind;
  finding.run = "run";
  finding.attempt = AttemptId{attempt};
  finding.culprit = std::move(culprit);
  finding.step = Step{100};
  finding.onset = At(onset);
  finding.reason = std::string(IncidentKindName(kind)) + " happened";
  finding.evidence = {std::string(IncidentKindName(kind)) + " evidence"};
  finding.is_independent = kind == K::kNodeLost;
  return finding;
}

Finding Crash(Culprit culprit, Duration onset, bool is_victim = false) {
  Finding finding = Make(K::kCrash, std::move(culprit), onset);
  finding.is_provisional = true;
  finding.is_victim = is_victim;
  return finding;
}

Clearance Cleared(K kind, NodeId node = "") {
  Clearance clearance;
  clearance.kind = kind;
  clearance.run = "run";
  clearance.culprit.node = std::move(node);
  clearance.reason = "it is over";
  return clearance;
}

std::vector<std::string> Texts(const Incident& incident) {
  std::vector<std::string> texts;
  for (const TimelineEntry& entry : incident.timeline) {
    texts.push_back(entry.text);
  }
  return texts;
}

TEST(IncidentBookTest, AFindingOpensAnIncidentWithItsTimes) {
  IncidentBook book("run", 4);
  Finding crash = Crash({"a", Rank{1}}, seconds(1));
  crash.signature = "SIGKILL rank=1";

  const Booked booked = book.Observe(crash, At(milliseconds(1400)));

  EXPECT_EQ(booked.incident, 5);
  EXPECT_TRUE(booked.is_new);
  EXPECT_TRUE(booked.needs_recovery);
  const std::vector<Incident> changed = book.TakeChanged();
  ASSERT_THAT(changed, SizeIs(1));
  const Incident& incident = changed[0];
  EXPECT_EQ(incident.Id(), "run:5");
  EXPECT_EQ(incident.kind, K::kCrash);
  EXPECT_EQ(incident.state, IncidentState::kOpen);
  EXPECT_EQ(incident.culprit, (Culprit{"a", Rank{1}}));
  EXPECT_EQ(incident.onset, At(seconds(1)).wall);
  EXPECT_EQ(incident.detected, At(milliseconds(1400)).wall);
  EXPECT_EQ(incident.detection_time, milliseconds(400));
  EXPECT_EQ(incident.remediation, "none");
  EXPECT_EQ(incident.signature, "SIGKILL rank=1");
  EXPECT_THAT(Texts(incident),
              ElementsAre("crash detected 400 ms after its onset: crash "
                          "happened"));
  EXPECT_THAT(book.TakeChanged(), IsEmpty());
}

TEST(IncidentBookTest, OneCauseIsOneIncident) {
  IncidentBook book("run", 0);
  book.Observe(Crash({"a", Rank{0}}, seconds(0), true), At(seconds(0)));
  // The attribution moves, the node is found lost, hangs follow.
  const Booked moved =
      book.Observe(Crash({"b", Rank{2}}, seconds(0)), At(seconds(1)));
  const Booked lost = book.Observe(
      Make(K::kNodeLost, {"b", kNoRank}, milliseconds(-300)), At(seconds(3)));
  const Booked hang =
      book.Observe(Make(K::kHang, {"", kNoRank}, seconds(1)), At(seconds(12)));
  const Booked victim =
      book.Observe(Crash({"a", Rank{1}}, seconds(2), true), At(seconds(13)));

  EXPECT_EQ(moved.incident, 1);
  EXPECT_TRUE(moved.cause_changed);
  EXPECT_TRUE(moved.needs_recovery);
  EXPECT_EQ(lost.incident, 1);
  EXPECT_TRUE(lost.cause_changed);
  EXPECT_EQ(hang.incident, 1);
  EXPECT_FALSE(hang.cause_changed);
  EXPECT_FALSE(hang.needs_recovery);
  EXPECT_EQ(victim.incident, 1);
  ASSERT_THAT(book.Open(), SizeIs(1));
  const Incident& incident = *book.Recovering();
  EXPECT_EQ(incident.kind, K::kNodeLost);
  EXPECT_EQ(incident.culprit, (Culprit{"b", kNoRank}));
  // The earliest onset stands, and so does the first detection.
  EXPECT_EQ(incident.onset, At(milliseconds(-300)).wall);
  EXPECT_EQ(incident.detected, At(seconds(0)).wall);
  EXPECT_EQ(incident.detection_time, milliseconds(300));
  EXPECT_THAT(incident.evidence,
              Contains("first taken for crash: crash happened"));
  EXPECT_THAT(incident.evidence, Contains("also hang: hang happened"));
  EXPECT_THAT(Texts(incident),
              Contains("cause corrected from crash (rank 2 on b) to node_lost "
                       "(node b): node_lost happened"));
}

TEST(IncidentBookTest, TwoFaultsAtOnceAreTwoIncidentsClosedTogether) {
  IncidentBook book("run", 0);
  Finding killed = Crash({"a", Rank{0}}, seconds(0));
  killed.is_independent = true;
  book.Observe(killed, At(milliseconds(200)));
  const Booked second = book.Observe(
      Make(K::kNodeLost, {"b", kNoRank}, milliseconds(100)), At(seconds(3)));

  EXPECT_TRUE(second.is_new);
  EXPECT_EQ(second.incident, 2);
  EXPECT_EQ(book.Recovering()->number, 1);

  book.SetRemediation(1, "restart");
  book.SetRemediation(2, "replace_node");
  book.AddTimelineToRecovering("attempt 2 ordered", At(seconds(4)));
  book.TakeChanged();
  book.Recover(AttemptId{2}, Step{101}, At(seconds(20)));

  const std::vector<Incident> closed = book.TakeChanged();
  ASSERT_THAT(closed, SizeIs(2));
  EXPECT_EQ(closed[0].state, IncidentState::kRecovered);
  EXPECT_EQ(closed[0].recovery_time, seconds(20));
  EXPECT_EQ(closed[0].remediation, "restart");
  EXPECT_EQ(closed[1].recovery_time, milliseconds(19900));
  EXPECT_EQ(closed[1].remediation, "replace_node");
  for (const Incident& incident : closed) {
    EXPECT_THAT(Texts(incident), Contains("attempt 2 ordered"));
    EXPECT_EQ(incident.timeline.back().text,
              "recovered: attempt 2 made the first new step, 101");
  }
  EXPECT_THAT(book.Open(), IsEmpty());
}

TEST(IncidentBookTest, FinalAttributionConfirmsAndAddsIndependentOnes) {
  IncidentBook book("run", 0);
  Finding first = Crash({"a", Rank{0}}, seconds(0));
  first.is_independent = true;
  book.Observe(first, At(seconds(0)));
  Finding confirmed = first;
  confirmed.is_provisional = false;
  Finding other = Make(K::kCrash, {"b", Rank{2}}, milliseconds(50));
  other.is_independent = true;

  const Booked same = book.Observe(confirmed, At(seconds(2)));
  const Booked second = book.Observe(other, At(seconds(2)));

  EXPECT_EQ(same.incident, 1);
  EXPECT_FALSE(same.cause_changed);
  EXPECT_FALSE(same.needs_recovery);
  EXPECT_EQ(second.incident, 2);
  EXPECT_THAT(Texts(*book.Find(1)),
              Contains("cause confirmed: crash happened"));
  // A later provisional word does not undo it.
  Finding doubt = Crash({"a", Rank{0}}, seconds(0));
  doubt.reason = "something else";
  book.Observe(doubt, At(seconds(3)));
  EXPECT_EQ(book.Find(1)->reason, "crash happened");
}

TEST(IncidentBookTest, AFaultDuringRecoveryIsAnIncidentOfItsOwn) {
  IncidentBook book("run", 0);
  book.Observe(Crash({"a", Rank{0}}, seconds(0)), At(seconds(0)));
  Finding second = Crash({"b", Rank{2}}, seconds(10));
  second.attempt = AttemptId{2};
  const Booked booked = book.Observe(second, At(seconds(10)));
  EXPECT_TRUE(booked.is_new);
  EXPECT_TRUE(booked.needs_recovery);

  // Attempt 2 itself made no new step: nothing of it is recovered by it.
  book.Recover(AttemptId{2}, Step{101}, At(seconds(11)));
  EXPECT_EQ(book.Find(1)->state, IncidentState::kRecovered);
  EXPECT_EQ(book.Find(2)->state, IncidentState::kOpen);
  book.Recover(AttemptId{3}, Step{102}, At(seconds(20)));
  EXPECT_EQ(book.Find(2)->state, IncidentState::kRecovered);
}

TEST(IncidentBookTest, ConditionsCloseWhenTheirCauseGoesAway) {
  IncidentBook book("run", 0);
  for (const K kind : {K::kAgentLost, K::kStorage}) {
    const Booked booked =
        book.Observe(Make(kind, {"a", kNoRank}, seconds(0)), At(seconds(3)));
    EXPECT_TRUE(booked.is_new);
    EXPECT_FALSE(booked.needs_recovery);
  }
  EXPECT_EQ(book.Recovering(), nullptr);
  book.Recover(AttemptId{9}, Step{500}, At(seconds(4)));
  EXPECT_THAT(book.Open(), SizeIs(2));

  EXPECT_FALSE(book.Clear(Cleared(K::kAgentLost, "b"), At(seconds(5))));
  EXPECT_TRUE(book.Clear(Cleared(K::kAgentLost, "a"), At(seconds(6))));

  EXPECT_EQ(book.Find(1)->state, IncidentState::kRecovered);
  EXPECT_EQ(book.Find(1)->recovery_time, seconds(6));
  EXPECT_EQ(book.Find(2)->state, IncidentState::kOpen);
  EXPECT_FALSE(book.Clear(Cleared(K::kAgentLost, "a"), At(seconds(7))));
}

TEST(IncidentBookTest, AClearanceWithoutANodeEndsAllOfItsKind) {
  IncidentBook book("run", 0);
  for (const std::int64_t step : {50, 60}) {
    Finding bad = Make(K::kCheckpointBad, {"a", Rank{0}}, seconds(0));
    bad.step = Step{step};
    book.Observe(bad, At(seconds(1)));
  }
  EXPECT_THAT(book.Open(), SizeIs(2));
  EXPECT_TRUE(book.Clear(Cleared(K::kCheckpointBad), At(seconds(9))));
  EXPECT_THAT(book.Open(), IsEmpty());
}

TEST(IncidentBookTest, ALostAgentBecomesALostNodeInPlace) {
  IncidentBook book("run", 0);
  book.Observe(Make(K::kAgentLost, {"b", kNoRank}, seconds(0)), At(seconds(3)));
  book.Observe(Make(K::kStorage, {"b", kNoRank}, seconds(0)), At(seconds(3)));

  const Booked booked = book.Observe(
      Make(K::kNodeLost, {"b", kNoRank}, minutes(10)), At(minutes(10)));

  EXPECT_EQ(booked.incident, 1);
  EXPECT_TRUE(booked.cause_changed);
  EXPECT_TRUE(booked.needs_recovery);
  EXPECT_EQ(book.Find(1)->kind, K::kNodeLost);
  // The run was hurt when it stopped, not when the agent died.
  EXPECT_EQ(book.Find(1)->onset, At(minutes(10)).wall);
  EXPECT_EQ(book.Find(1)->detection_time, seconds(0));
  EXPECT_EQ(book.Find(2)->state, IncidentState::kClosed);
  EXPECT_THAT(book.Find(2)->timeline.back().text,
              HasSubstr("the node is lost, see run:1"));
}

TEST(IncidentBookTest, ALostAgentEndsWhenItsNodeExplainsACrash) {
  IncidentBook book("run", 0);
  book.Observe(Crash({"a", Rank{0}}, seconds(0), true), At(seconds(0)));
  book.Observe(Make(K::kAgentLost, {"b", kNoRank}, seconds(0)), At(seconds(3)));
  const Booked booked = book.Observe(
      Make(K::kNodeLost, {"b", kNoRank}, seconds(0)), At(seconds(4)));

  EXPECT_EQ(booked.incident, 1);
  EXPECT_EQ(book.Find(1)->kind, K::kNodeLost);
  EXPECT_EQ(book.Find(2)->state, IncidentState::kClosed);
}

TEST(IncidentBookTest, FindingsOfOtherRunsAreDropped) {
  IncidentBook book("run", 0);
  Finding other = Make(K::kCrash, {"a", Rank{0}}, seconds(0));
  other.run = "another";
  EXPECT_EQ(book.Observe(other, At(seconds(0))).incident, 0);
  Clearance clearance = Cleared(K::kCrash);
  clearance.run = "another";
  EXPECT_FALSE(book.Clear(clearance, At(seconds(0))));
  EXPECT_THAT(book.TakeChanged(), IsEmpty());
}

TEST(IncidentBookTest, TheEndOfARunClosesWhatIsOpen) {
  IncidentBook book("run", 0);
  book.Observe(Crash({"a", Rank{0}}, seconds(0)), At(seconds(0)));
  book.Observe(Make(K::kStorage, {"a", kNoRank}, seconds(0)), At(seconds(1)));
  book.CloseAll("halted: three restarts brought no new step", false,
                At(seconds(5)));

  EXPECT_EQ(book.Find(1)->state, IncidentState::kClosed);
  EXPECT_EQ(book.Find(1)->recovery_time, Duration{});
  EXPECT_EQ(book.Find(2)->state, IncidentState::kOpen);
  book.CloseAll("stopped by an operator", true, At(seconds(6)));
  EXPECT_THAT(book.TakeChanged(), SizeIs(2));
  EXPECT_THAT(book.TakeChanged(), IsEmpty());
}

TEST(IncidentBookTest, RestoredIncidentsGoOnWhereTheyWere) {
  IncidentBook before("run", 0);
  before.Observe(Crash({"a", Rank{0}}, seconds(0), true),
                 At(milliseconds(500)));
  const Incident stored = before.TakeChanged().front();

  // Another process: the monotonic clock is another one.
  IncidentBook after("run", 1);
  const Now later = {MonoTime(seconds(5)), At(seconds(60)).wall};
  after.Restore(stored, later);
  ASSERT_NE(after.Recovering(), nullptr);
  EXPECT_THAT(after.TakeChanged(), IsEmpty());

  // Better evidence still finds its incident.
  Finding lost = Make(K::kNodeLost, {"b", kNoRank}, seconds(0));
  lost.onset = {later.mono, later.wall};
  EXPECT_EQ(after.Observe(lost, later).incident, 1);
  EXPECT_EQ(after.Recovering()->detection_time, milliseconds(500));

  after.Recover(AttemptId{2}, Step{101},
                {later.mono + seconds(10), later.wall + seconds(10)});
  EXPECT_EQ(after.TakeChanged().front().recovery_time, seconds(70));
}

TEST(IncidentBookTest, RestoredKillsStayFaultsOfTheirOwn) {
  Incident killed;
  killed.number = 7;
  killed.run = "run";
  killed.kind = K::kCrash;
  killed.attempt = AttemptId{1};
  killed.culprit = {"a", Rank{0}};
  killed.signature = "SIGKILL rank=0";
  killed.onset = At(seconds(0)).wall;
  IncidentBook book("run", 7);
  book.Restore(killed, At(seconds(5)));

  const Booked lost = book.Observe(
      Make(K::kNodeLost, {"b", kNoRank}, seconds(0)), At(seconds(5)));

  EXPECT_EQ(lost.incident, 8);
  // What is closed is not restored.
  Incident closed = killed;
  closed.number = 6;
  closed.state = IncidentState::kRecovered;
  book.Restore(closed, At(seconds(5)));
  EXPECT_EQ(book.Find(6), nullptr);
}

TEST(IncidentBookTest, EvidenceAndTimelineAreBounded) {
  IncidentBook book("run", 0);
  book.Observe(Crash({"a", Rank{0}}, seconds(0)), At(seconds(0)));
  for (int i = 0; i < 1000; ++i) {
    book.AddEvidence(1, "line " + std::to_string(i));
    book.AddEvidence(1, "line " + std::to_string(i));  // Said before.
    book.AddTimeline(1, "entry " + std::to_string(i), At(seconds(i)));
  }
  book.Recover(AttemptId{2}, Step{101}, At(seconds(2000)));

  const Incident incident = book.TakeChanged().front();

  EXPECT_EQ(incident.evidence.size(), kMaxEvidence);
  EXPECT_EQ(incident.evidence.back(), "more evidence was left out");
  EXPECT_LE(incident.timeline.size(), kMaxTimeline);
  EXPECT_THAT(Texts(incident), Contains("more entries were left out"));
  // How it ended is never left out.
  EXPECT_THAT(incident.timeline.back().text, HasSubstr("recovered"));
}

TEST(IncidentBookTest, TheNumberOfOpenIncidentsIsBounded) {
  IncidentBook book("run", 0);
  for (std::int64_t step = 0; step < 200; ++step) {
    Finding bad = Make(K::kCheckpointBad, {"a", Rank{0}}, seconds(0));
    bad.step = Step{step};
    EXPECT_GT(book.Observe(bad, At(seconds(step))).incident, 0);
  }
  EXPECT_THAT(book.Open(), SizeIs(kMaxOpenIncidents));
}

TEST(IncidentBookTest, RepeatedFindingsChangeNothing) {
  IncidentBook book("run", 0);
  const Finding lost = Make(K::kNodeLost, {"b", kNoRank}, seconds(0));
  book.Observe(lost, At(seconds(3)));
  book.TakeChanged();
  for (int i = 0; i < 50; ++i) {
    const Booked again = book.Observe(lost, At(seconds(3 + i)));
    EXPECT_EQ(again.incident, 1);
    EXPECT_FALSE(again.needs_recovery);
  }
  EXPECT_THAT(book.TakeChanged(), IsEmpty());
}

TEST(IncidentBookTest, UnknownNumbersAreIgnored) {
  IncidentBook book("run", 0);
  book.SetRemediation(9, "restart");
  book.AddStepsLost(9, 5);
  book.AddTimeline(9, "x", At(seconds(0)));
  book.AddEvidence(9, "x");
  EXPECT_EQ(book.Find(9), nullptr);
  EXPECT_THAT(book.TakeChanged(), IsEmpty());
}

// Goal: whatever order findings come in, numbers are never reused, every open
// incident stays within its bounds and everything closes at the end.
TEST(IncidentBookTest, RandomFindingsKeepTheBookInOrder) {
  std::uint64_t random = 11;
  const auto next = [&random](std::uint64_t below) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return (random >> 33) % below;
  };
  for (int round = 0; round < 200; ++round) {
    IncidentBook book("run", 0);
    std::int64_t attempt = 1;
    std::set<std::int64_t> finished;
    for (int i = 0; i < 100; ++i) {
      const Now now = At(milliseconds(100 * i));
      Finding finding =
          Make(static_cast<K>(next(9)),
               {next(3) == 0 ? "" : "n" + std::to_string(next(4)),
                Rank{static_cast<std::int32_t>(next(9)) - 1}},
               milliseconds(100 * i - static_cast<int>(next(5000))), attempt);
      finding.step = Step{static_cast<std::int64_t>(next(5))};
      finding.is_provisional = next(2) == 0;
      finding.is_victim = next(2) == 0;
      const Booked booked = book.Observe(finding, now);
      ASSERT_GT(booked.incident, 0);
      ASSERT_EQ(finished.count(booked.incident), 0u);
      if (booked.is_new) {
        ASSERT_EQ(booked.incident, book.LastNumber());
      }
      if (next(10) == 0) book.Recover(AttemptId{++attempt}, Step{i}, now);
      if (next(10) == 0) book.Clear(Cleared(static_cast<K>(next(9))), now);
      for (const Incident& incident : book.TakeChanged()) {
        ASSERT_EQ(finished.count(incident.number), 0u);
        ASSERT_GE(incident.detection_time, Duration{});
        ASSERT_LE(incident.evidence.size(), kMaxEvidence);
        ASSERT_LE(incident.timeline.size(), kMaxTimeline);
        if (incident.state != IncidentState::kOpen) {
          finished.insert(incident.number);
        }
        if (incident.state == IncidentState::kRecovered) {
          ASSERT_GE(incident.recovery_time, Duration{});
        }
      }
    }
    book.CloseAll("end", true, At(minutes(1)));
    ASSERT_THAT(book.Open(), IsEmpty());
  }
}

// Seen first as a silent agent, then by its peers' broken connections.
TEST(IncidentBookTest, ALostNodeIsOneStoryWithItsAgentAndItsPeers) {
  IncidentBook book("run", 0);
  book.Observe(Make(K::kAgentLost, {"a", kNoRank}, seconds(0)), At(seconds(3)));
  Finding victim = Crash({"b", Rank{2}}, seconds(3));
  victim.is_victim = true;
  book.Observe(victim, At(seconds(3)));
  Finding lost = Make(K::kNodeLost, {"a", kNoRank}, seconds(0));
  lost.is_independent = true;

  EXPECT_EQ(book.Observe(lost, At(seconds(4))).incident, 2);

  ASSERT_THAT(book.Open(), SizeIs(1));
  EXPECT_EQ(book.Open().at(0)->kind, K::kNodeLost);
  EXPECT_EQ(book.Open().at(0)->culprit, (Culprit{"a", kNoRank}));
}

// --- Of the training.

Finding Spike(Advice advice, Duration after) {
  Finding finding = Make(K::kLossSpike, {}, after);
  finding.detector = "loss_spike";
  finding.onset_step = Step{100};
  finding.advice = advice;
  finding.severity =
      advice == Advice::kRollback ? Severity::kCritical : Severity::kWarning;
  finding.rollback.below = Step{50};
  return finding;
}

TEST(IncidentBookTest, AJudgementGrowsIntoWhatEndsTheAttempt) {
  IncidentBook book("run", 0);
  EXPECT_FALSE(book.Observe(Spike(Advice::kReport, seconds(0)), At(seconds(1)))
                   .needs_recovery);
  EXPECT_EQ(book.Recovering(), nullptr);

  book.Observe(Spike(Advice::kRollback, seconds(0)), At(seconds(2)));
  ASSERT_THAT(book.Open(), SizeIs(1));
  ASSERT_NE(book.Recovering(), nullptr);
  EXPECT_EQ(book.Recovering()->rollback.below, Step{50});

  // Not talked down by a later report.
  book.Observe(Spike(Advice::kReport, seconds(0)), At(seconds(3)));
  EXPECT_EQ(book.Open().at(0)->advice, Advice::kRollback);
  EXPECT_EQ(book.Open().at(0)->severity, Severity::kCritical);

  book.Recover(book.Open().at(0)->attempt.Next(), Step{60}, At(seconds(9)));
  EXPECT_THAT(book.Open(), IsEmpty());
}

TEST(IncidentBookTest, ANewAttemptIsJudgedAnew) {
  IncidentBook book("run", 0);
  book.Observe(Spike(Advice::kReport, seconds(0)), At(seconds(1)));
  const AttemptId attempt = book.Open().at(0)->attempt;

  book.LeaveTraining(attempt, At(seconds(2)));
  EXPECT_THAT(book.Open(), SizeIs(1));
  book.LeaveTraining(attempt.Next(), At(seconds(3)));
  EXPECT_THAT(book.Open(), IsEmpty());
  EXPECT_EQ(book.TakeChanged().at(0).state, IncidentState::kClosed);
}

}  // namespace
}  // namespace steadyrun
