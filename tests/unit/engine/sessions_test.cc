#include "server/engine/sessions.h"

#include <gtest/gtest.h>

namespace steadyrun {
namespace {

Now At(int seconds) {
  return {MonoTime(std::chrono::seconds(1000 + seconds)),
          FromUnixMillis(1'000'000 + 1000 * seconds)};
}

NodeState State(const std::string& boot = "kernel1:disk1") {
  NodeState state;
  state.node = "a";
  state.boot_id = boot;
  state.address = "addr";
  return state;
}

TEST(SessionsTest, ANewerStreamTakesTheOldersPlace) {
  Sessions sessions({}, {}, At(0));
  sessions.Open(SessionId{1}, State(), At(0));

  const Sessions::Opened opened = sessions.Open(SessionId{2}, State(), At(1));

  EXPECT_EQ(opened.replaced, SessionId{1});
  EXPECT_EQ(sessions.Find(SessionId{1}), nullptr);
  EXPECT_EQ(sessions.Find(SessionId{2}), opened.node);
  // The older one's end is no news any more.
  EXPECT_EQ(sessions.Close(SessionId{1}, At(2)), nullptr);
  EXPECT_TRUE(opened.node->IsConnected());
}

TEST(SessionsTest, AHeartbeatOfAReplacedStreamCountsNot) {
  Sessions sessions({}, {}, At(0));
  sessions.Open(SessionId{1}, State(), At(0));
  sessions.Open(SessionId{2}, State(), At(1));

  EXPECT_EQ(sessions.Observe(SessionId{1}, State(), At(5)), nullptr);
  EXPECT_EQ(sessions.Hearing().LastHeard("a"), At(1).mono);
}

TEST(SessionsTest, AStreamSpeaksForItsOwnNodeAndLifeOnly) {
  Sessions sessions({}, {}, At(0));
  sessions.Open(SessionId{1}, State(), At(0));
  NodeState other = State();
  other.node = "b";

  EXPECT_EQ(sessions.Observe(SessionId{1}, other, At(1)), nullptr);
  EXPECT_EQ(sessions.Observe(SessionId{1}, State("kernel2:disk1"), At(1)),
            nullptr);
}

TEST(SessionsTest, ANewStateDirectoryCountsItsReportsAnew) {
  Sessions sessions({}, {{"a", "kernel1:disk1", ReportSeq{7}}}, At(0));

  const Sessions::Opened same = sessions.Open(SessionId{1}, State(), At(0));
  EXPECT_FALSE(same.is_new_life);
  EXPECT_EQ(same.node->acked, ReportSeq{7});

  const Sessions::Opened fresh =
      sessions.Open(SessionId{2}, State("kernel1:disk2"), At(1));
  EXPECT_TRUE(fresh.is_new_life);
  EXPECT_EQ(fresh.node->acked, ReportSeq{0});
  EXPECT_TRUE(fresh.node->acks.IsNew(ReportSeq{1}));
}

TEST(SessionsTest, ABootWithTheSameStateDirectoryKeepsItsReports) {
  Sessions sessions({}, {{"a", "kernel1:disk1", ReportSeq{7}}}, At(0));

  const Sessions::Opened opened =
      sessions.Open(SessionId{1}, State("kernel2:disk1"), At(0));

  EXPECT_TRUE(opened.is_new_life);
  EXPECT_EQ(opened.node->acked, ReportSeq{7});
}

TEST(SessionsTest, AReportedExitIsAsGoodAsAHeartbeat) {
  Sessions sessions({}, {}, At(0));
  NodeState state = State();
  RankState rank;
  rank.rank = Rank{3};
  rank.attempt = AttemptId{2};
  rank.life = RankLife::kAlive;
  state.runs.push_back({"gpt", {}, {}, {rank}});
  NodeEntry* node = sessions.Open(SessionId{1}, state, At(0)).node;
  RankExited exit;
  exit.run = "gpt";
  exit.attempt = AttemptId{1};
  exit.rank = Rank{3};

  Sessions::NoteExit(node, exit);  // Of an older attempt.
  EXPECT_EQ(node->state.runs[0].ranks[0].life, RankLife::kAlive);
  exit.attempt = AttemptId{2};
  Sessions::NoteExit(node, exit);
  EXPECT_EQ(node->state.runs[0].ranks[0].life, RankLife::kExited);
}

TEST(SessionsTest, WhatIsDueIsListedOnceAndByName) {
  Sessions sessions({}, {}, At(0));
  NodeState b = State();
  b.node = "b";
  NodeEntry* second = sessions.Open(SessionId{1}, b, At(0)).node;
  NodeEntry* first = sessions.Open(SessionId{2}, State(), At(0)).node;
  sessions.NoteAckDue(second);
  sessions.NoteAckDue(first);
  sessions.NoteAckDue(second);

  EXPECT_EQ(sessions.TakeAckDue(), (std::vector<NodeEntry*>{first, second}));
  EXPECT_TRUE(sessions.TakeAckDue().empty());
}

}  // namespace
}  // namespace steadyrun
