#include "server/detect/crash_detector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace steadyrun {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

WatchedAttempt FourRanks(std::int64_t target_steps = 0) {
  WatchedAttempt attempt;
  attempt.run = "run";
  attempt.attempt = AttemptId{3};
  attempt.rank_nodes = {"a", "a", "b", "b"};
  attempt.target_steps = target_steps;
  return attempt;
}

Now At(double after) {
  return {MonoTime(FromSeconds(1000 + after)),
          FromUnixMillis(1'700'000'000'000 +
                         static_cast<std::int64_t>(after * 1000))};
}

RankExited Exit(std::int32_t rank, std::int32_t code, std::int32_t signal,
                bool is_secondary = false, std::string error = "") {
  RankExited exit;
  exit.run = "run";
  exit.attempt = AttemptId{3};
  exit.rank = Rank{rank};
  exit.exit.code = code;
  exit.exit.signal = signal;
  exit.step = Step{41};
  exit.phase = Phase::kBackward;
  exit.is_secondary = is_secondary;
  exit.error = std::move(error);
  return exit;
}
RankExited Raised(std::int32_t rank, std::string error) {
  RankExited exit = Exit(rank, 1, 0, false, std::move(error));
  exit.signature = "RuntimeError@train.py:step";
  return exit;
}
RankExited Victim(std::int32_t rank) {
  return Exit(rank, 1, 0, true, "Connection closed by peer");
}
RankExited Killed(std::int32_t rank) { return Exit(rank, 0, SIGKILL); }

CrashDetector Watching(std::int64_t target_steps = 0) {
  CrashDetector detector{CrashOptions()};
  detector.Begin(FourRanks(target_steps));
  return detector;
}

TEST(CrashDetectorTest, TheFirstExitIsAFindingAtOnce) {
  CrashDetector detector = Watching();

  const auto crash = detector.ObserveExit(Killed(2), At(0));

  ASSERT_TRUE(crash.has_value());
  EXPECT_EQ(crash->kind, IncidentKind::kCrash);
  EXPECT_EQ(crash->culprit, (Culprit{"b", Rank{2}}));
  EXPECT_EQ(crash->step, Step{41});
  EXPECT_EQ(crash->reason,
            "Rank 2 on b ended with SIGKILL after step 41, in phase backward.");
  EXPECT_EQ(crash->signature, "SIGKILL rank=2");
  EXPECT_TRUE(crash->is_provisional);
  EXPECT_FALSE(crash->is_victim);
  EXPECT_TRUE(crash->is_independent);
}

struct Arrival {
  double at;
  RankExited exit;
};
struct CauseCase {
  const char* what;
  std::vector<Arrival> exits;
  std::int32_t cause;
  bool is_victim;
};

TEST(CrashDetectorTest, TheFirstCauseIsToldFromVictims) {
  const CauseCase cases[] = {
      {"victims arrive first",
       {{0, Victim(0)},
        {0.01, Victim(1)},
        {0.4, Raised(3, "boom")},
        {0.5, Victim(2)}},
       3,
       false},
      {"the first of two primary ones",
       {{0, Raised(2, "boom")}, {0.2, Killed(0)}},
       2,
       false},
      {"only victims: presumed, and said so",
       {{0, Victim(1)}, {0.1, Victim(0)}},
       1,
       true},
      {"a signal is never a victim's, whatever its last words",
       {{0, Victim(1)}, {0.2, Exit(3, 0, SIGSEGV, true, "Connection reset")}},
       3,
       false},
      {"an abort after a peer error is a victim's",
       {{0, Exit(1, 0, SIGABRT, true, "gloo: connection closed")},
        {0.3, Killed(2)}},
       2,
       false},
      {"an abort of its own is not",
       {{0, Victim(0)}, {0.3, Exit(1, 0, SIGABRT, false, "assert")}},
       1,
       false},
      {"an early end is a better cause than a victim",
       {{0, Victim(0)}, {0.2, Exit(2, 0, 0)}},
       2,
       false},
      {"and a worse one than a failure",
       {{0, Exit(2, 0, 0)}, {0.2, Raised(1, "boom")}},
       1,
       false},
  };
  for (const CauseCase& test : cases) {
    CrashDetector detector = Watching(1000);
    for (const Arrival& arrival : test.exits) {
      detector.ObserveExit(arrival.exit, At(arrival.at));
    }

    const std::vector<Finding> all = detector.Final();
    ASSERT_FALSE(all.empty()) << test.what;
    EXPECT_EQ(all.front().culprit.rank, Rank{test.cause}) << test.what;
    EXPECT_EQ(all.front().is_victim, test.is_victim) << test.what;
    EXPECT_FALSE(all.front().is_provisional) << test.what;
  }
}

TEST(CrashDetectorTest, OneMessagesExitsAreOrderedByTheNodesOwnClock) {
  CrashDetector detector = Watching();
  RankExited later = Raised(0, "second");
  later.exit_unix_ms = 2000;
  RankExited earlier = Raised(1, "first");
  earlier.exit_unix_ms = 1000;
  detector.ObserveExit(later, At(0));
  const auto changed = detector.ObserveExit(earlier, At(0));

  ASSERT_TRUE(changed.has_value());
  EXPECT_EQ(changed->culprit.rank, Rank{1});
}

// Two machines' clocks may be minutes apart; arrival decides between them.
TEST(CrashDetectorTest, WallClocksOfTwoNodesAreNotCompared) {
  CrashDetector detector = Watching();
  RankExited first = Raised(0, "first");
  first.exit_unix_ms = 900'000;
  RankExited second = Raised(2, "second");
  second.exit_unix_ms = 100'000;
  detector.ObserveExit(first, At(0));
  detector.ObserveExit(second, At(0.1));

  EXPECT_EQ(detector.Final().front().culprit.rank, Rank{0});
}

TEST(CrashDetectorTest, AnnouncesOnlyWhatIsNews) {
  CrashDetector detector = Watching();
  EXPECT_TRUE(detector.ObserveExit(Victim(0), At(0)).has_value());
  EXPECT_FALSE(detector.ObserveExit(Victim(0), At(0.1)).has_value());
  EXPECT_FALSE(detector.ObserveExit(Victim(1), At(0.2)).has_value());
  EXPECT_TRUE(detector.ObserveExit(Raised(2, "boom"), At(0.3)).has_value());
  EXPECT_FALSE(detector.ObserveExit(Raised(3, "boom"), At(0.4)).has_value());
}

TEST(CrashDetectorTest, OrderedExitsAndOtherAttemptsAreNoEvidence) {
  CrashDetector detector = Watching();
  RankExited ordered = Killed(0);
  ordered.killed_by_agent = true;
  RankExited old = Killed(1);
  old.attempt = AttemptId{2};
  RankExited outside = Killed(4);

  EXPECT_FALSE(detector.ObserveExit(ordered, At(0)).has_value());
  EXPECT_FALSE(detector.ObserveExit(old, At(0)).has_value());
  EXPECT_FALSE(detector.ObserveExit(outside, At(0)).has_value());
  EXPECT_FALSE(detector.HasCrashed());
  EXPECT_THAT(detector.Final(), IsEmpty());
}

TEST(CrashDetectorTest, AHeartbeatMayBeAheadOfTheReport) {
  CrashDetector detector = Watching();
  RankState state;
  state.rank = Rank{3};
  state.attempt = AttemptId{3};
  state.life = RankLife::kExited;
  state.exit.code = 1;
  state.step = Step{41};

  const auto seen = detector.ObserveState(state, At(0));
  EXPECT_FALSE(detector.ObserveState(state, At(0.5)).has_value());
  const auto known = detector.ObserveExit(Raised(3, "boom"), At(0.6));

  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->culprit.rank, Rank{3});
  ASSERT_TRUE(known.has_value());
  EXPECT_THAT(known->reason, HasSubstr("boom"));
  EXPECT_EQ(known->onset, At(0));
}

TEST(CrashDetectorTest, TheOnsetIsWhenTheRankEndedNotWhenItWasHeardOf) {
  CrashDetector detector = Watching();
  RankState state;
  state.rank = Rank{3};
  state.attempt = AttemptId{3};
  state.life = RankLife::kExited;
  state.exit.signal = SIGKILL;
  state.exit_age = seconds(11);  // Its agent had no network.

  const auto seen = detector.ObserveState(state, At(20));

  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->onset, At(9));

  CrashDetector other = Watching();
  const auto told = other.ObserveExit(Killed(3), At(20), seconds(11));
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->onset, At(9));
}

TEST(CrashDetectorTest, AnUnexplainedExitInAHeartbeatMayTurnOutAVictim) {
  CrashDetector detector = Watching();
  RankState state;
  state.rank = Rank{3};
  state.attempt = AttemptId{3};
  state.life = RankLife::kExited;
  state.exit.code = 1;
  detector.ObserveState(state, At(0));
  const auto changed = detector.ObserveExit(Victim(3), At(0.1));
  ASSERT_TRUE(changed.has_value());
  EXPECT_TRUE(changed->is_victim);
  const auto cause = detector.ObserveExit(Killed(1), At(0.2));

  ASSERT_TRUE(cause.has_value());
  EXPECT_EQ(cause->culprit.rank, Rank{1});
}

TEST(CrashDetectorTest, KillsOnTwoNodesAreTwoFaults) {
  CrashDetector detector = Watching();
  detector.ObserveExit(Killed(1), At(0));
  detector.ObserveExit(Killed(0), At(0.01));  // Same node: the same story.
  detector.ObserveExit(Killed(3), At(0.02));
  detector.ObserveExit(Victim(2), At(0.03));

  const std::vector<Finding> all = detector.Final();

  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].culprit, (Culprit{"a", Rank{1}}));
  EXPECT_EQ(all[1].culprit, (Culprit{"b", Rank{3}}));
}

TEST(CrashDetectorTest, AnEarlyEndIsACrashAfterItsGrace) {
  CrashDetector detector = Watching(1000);
  EXPECT_FALSE(detector.ObserveExit(Exit(1, 0, 0), At(0)).has_value());
  EXPECT_FALSE(detector.Evaluate(At(9.9)).has_value());

  const auto crash = detector.Evaluate(At(10));

  ASSERT_TRUE(crash.has_value());
  EXPECT_EQ(crash->reason,
            "Rank 1 on a ended with exit code 0 before its last step after "
            "step 41, in phase backward.");
  EXPECT_EQ(crash->signature, "exited early");
  EXPECT_FALSE(detector.Evaluate(At(11)).has_value());
}

TEST(CrashDetectorTest, EndingWellIsNoCrash) {
  // By finishing.
  CrashDetector finished = Watching(1000);
  for (std::int32_t rank = 0; rank < 4; ++rank) {
    finished.ObserveFinished(Rank{rank});
    EXPECT_FALSE(finished.AllEndedWell());
    EXPECT_FALSE(finished.ObserveExit(Exit(rank, 0, 0), At(rank)).has_value());
  }
  EXPECT_TRUE(finished.AllEndedWell());
  EXPECT_FALSE(finished.Evaluate(At(100)).has_value());

  // By reaching the target, counted from 0.
  CrashDetector reached = Watching(42);
  for (std::int32_t rank = 0; rank < 4; ++rank) {
    EXPECT_FALSE(reached.ObserveExit(Exit(rank, 0, 0), At(rank)).has_value());
  }
  EXPECT_TRUE(reached.AllEndedWell());

  // Without a known target, by all ending with code 0.
  CrashDetector unknown = Watching(0);
  for (std::int32_t rank = 0; rank < 4; ++rank) {
    unknown.ObserveExit(Exit(rank, 0, 0), At(rank));
  }
  EXPECT_TRUE(unknown.AllEndedWell());
  EXPECT_FALSE(unknown.Evaluate(At(100)).has_value());
}

TEST(CrashDetectorTest, TheReportOfFinishingMayComeAfterTheExit) {
  CrashDetector detector = Watching(1000);
  for (std::int32_t rank = 0; rank < 4; ++rank) {
    detector.ObserveExit(Exit(rank, 0, 0), At(0));
  }
  EXPECT_FALSE(detector.AllEndedWell());
  for (std::int32_t rank = 0; rank < 4; ++rank) {
    detector.ObserveFinished(Rank{rank});
  }
  EXPECT_TRUE(detector.AllEndedWell());
  EXPECT_FALSE(detector.Evaluate(At(100)).has_value());
}

TEST(CrashDetectorTest, AFailureAfterFinishingIsStillACrash) {
  CrashDetector detector = Watching(1000);
  detector.ObserveFinished(Rank{0});
  EXPECT_TRUE(detector.ObserveExit(Raised(0, "boom"), At(0)).has_value());
}

TEST(CrashDetectorTest, EvidenceIsBoundedAndHoldsTheLastWords) {
  WatchedAttempt attempt;
  attempt.run = "run";
  attempt.attempt = AttemptId{3};
  attempt.rank_nodes.assign(100, "a");
  CrashDetector detector{CrashOptions()};
  detector.Begin(attempt);
  RankExited first = Raised(0, "CUDA error");
  for (int i = 0; i < 20; ++i) {
    first.last_log_lines.push_back("line " + std::to_string(i));
  }
  detector.ObserveExit(first, At(0));
  for (std::int32_t rank = 1; rank < 100; ++rank) {
    detector.ObserveExit(Victim(rank), At(0.1));
  }

  const Finding finding = detector.Final().front();

  EXPECT_LE(finding.evidence.size(), 30u);
  EXPECT_THAT(finding.evidence,
              Contains("rank 0 on a: exit code 1 after step 41, primary: CUDA "
                       "error"));
  EXPECT_THAT(finding.evidence, Contains("and 84 more exits"));
  EXPECT_THAT(finding.evidence, Contains("rank 0 log: line 19"));
}

TEST(CrashDetectorTest, NodesWithExitsAreWitnesses) {
  CrashDetector detector = Watching();
  detector.ObserveExit(Victim(3), At(0));
  detector.ObserveExit(Victim(2), At(0));

  EXPECT_THAT(detector.NodesWithExits(), ElementsAre("b"));
}

}  // namespace
}  // namespace steadyrun
