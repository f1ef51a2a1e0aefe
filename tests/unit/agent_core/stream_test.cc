#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_core/core_rig.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

WelcomeReceived Welcomed(std::uint64_t epoch, std::string server) {
  Welcome welcome;
  welcome.server_epoch = epoch;
  welcome.server_id = std::move(server);
  return {welcome};
}

TEST(StreamTest, TheHelloCarriesIdentityAndEpoch) {
  CoreRig rig;
  rig.Connect(4);
  rig.Step(StreamClosed{""});
  rig.Clear();

  rig.Step(StreamOpened{});

  const Hello hello = rig.All<SendHello>().at(0).hello;
  EXPECT_EQ(hello.max_server_epoch, 4u);
  EXPECT_EQ(hello.state.node, "node-1");
  EXPECT_EQ(hello.state.boot_id, "kernel-1:uuid-1");
  EXPECT_EQ(hello.state.agent_incarnation, Incarnation{7});
}

TEST(StreamTest, AServerOfAnOlderEpochIsRefused) {
  CoreRig rig;
  rig.Connect(5);
  rig.Step(StreamClosed{""});
  rig.Step(StreamOpened{});
  rig.Clear();

  rig.Step(Welcomed(4, "server-a"));
  Command stop = rig.Stop(AttemptId{1});
  stop.server_epoch = 4;
  rig.Send(stop);

  ASSERT_THAT(rig.All<CloseStream>(), SizeIs(1));
  EXPECT_THAT(rig.All<CloseStream>()[0].reason, HasSubstr("older than 5"));
  EXPECT_THAT(rig.writes, IsEmpty());
  EXPECT_THAT(rig.All<SendReportsFrom>(), IsEmpty());
}

TEST(StreamTest, AnotherServerOfTheSameEpochIsRefused) {
  CoreRig rig;
  rig.Connect(5, "server-a");
  rig.Step(StreamOpened{});
  rig.Clear();

  rig.Step(Welcomed(5, "server-b"));

  ASSERT_THAT(rig.All<CloseStream>(), SizeIs(1));
  EXPECT_THAT(rig.All<CloseStream>()[0].reason, HasSubstr("copies"));
}

TEST(StreamTest, TheSameServerIsWelcomeAgain) {
  CoreRig rig;
  rig.Connect(5, "server-a");
  rig.Clear();

  rig.Connect(5, "server-a");

  EXPECT_THAT(rig.All<CloseStream>(), IsEmpty());
  EXPECT_THAT(rig.All<SendReportsFrom>(), SizeIs(1));
}

TEST(StreamTest, AStaleServersAckDropsNothing) {
  CoreRig rig;
  rig.StartRun();
  rig.Step(StreamClosed{""});
  rig.Step(StreamOpened{});
  rig.Step(Welcomed(0, "old"));
  rig.Clear();

  rig.Step(AckReceived{ReportSeq{1}});

  EXPECT_THAT(rig.All<DropReportsThrough>(), IsEmpty());
}

TEST(StreamTest, ACommandOfAnotherEpochThanItsStreamIsDropped) {
  CoreRig rig;
  rig.StartRun();

  Command stop = rig.Stop(AttemptId{2});
  stop.server_epoch = 2;
  rig.Send(stop);
  stop.server_epoch = 0;
  rig.Send(stop);

  EXPECT_THAT(rig.writes, IsEmpty());
  EXPECT_THAT(rig.Outcomes(), IsEmpty());
}

TEST(StreamTest, ACommandBeforeTheWelcomeIsDropped) {
  CoreRig rig;
  rig.StartRun();
  rig.Step(StreamClosed{""});
  rig.Step(StreamOpened{});

  rig.Send(rig.Stop(AttemptId{2}));
  rig.PersistAll();

  EXPECT_THAT(rig.All<KillRanks>(), IsEmpty());
}

TEST(StreamTest, TelemetryFlowsWhileTheEpochCannotBePersisted) {
  CoreRig rig;
  rig.Connect(1);
  rig.Step(StreamOpened{});
  rig.Clear();
  rig.Step(Welcomed(2, "server-a"));
  rig.FailPersist();

  rig.Tick(std::chrono::seconds(1));

  EXPECT_THAT(rig.All<SendHeartbeat>(), SizeIs(1));
  EXPECT_THAT(rig.All<SendReportsFrom>(), SizeIs(1));
  rig.Tick(std::chrono::seconds(6));
  ASSERT_THAT(rig.writes, SizeIs(1));  // Tried again by itself.
  EXPECT_EQ(rig.writes[0].state.max_server_epoch, 2u);
}

}  // namespace
}  // namespace steadyrun::agent
