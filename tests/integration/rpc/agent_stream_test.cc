// What an agent meets at the real server: the boundary is the engine's queue,
// where a recorder stands instead.

#include <algorithm>
#include <functional>
#include <map>
#include <thread>

#include "server/rpc/outgoing_queue.h"
#include "server/rpc/poller_rest.h"
#include "tests/integration/rpc/fixture.h"

namespace steadyrun {
namespace {

using ::testing::HasSubstr;

Command SaveAt(std::int64_t step, const std::string& id) {
  Command command;
  command.command_id = id;
  command.server_epoch = 3;
  command.run = "gpt";
  command.attempt = {1};
  command.boot_id = "boot-of-n1";
  command.body = SaveCommand{{step}, false, 1};
  return command;
}

class AgentStreamTest : public RpcTest {
 protected:
  // A stream whose Hello the engine has seen.
  std::unique_ptr<TestAgent> Connect(const std::string& node) {
    const std::size_t before = sink_.All<AgentConnected>().size();
    auto agent = std::make_unique<TestAgent>(Channel());
    EXPECT_TRUE(agent->Write(HelloOf(node)));
    EXPECT_TRUE(sink_.WaitFor<AgentConnected>(before + 1));
    return agent;
  }
  SessionId LastSession() const {
    return sink_.All<AgentConnected>().back().session;
  }
};

TEST_F(AgentStreamTest, HelloGoesToTheEngineAndItsWelcomeComesBack) {
  StartServer();
  const auto agent = Connect("n1");
  const AgentConnected connected = sink_.All<AgentConnected>().at(0);
  EXPECT_EQ(connected.hello.state.node, "n1");
  EXPECT_EQ(connected.hello.state.boot_id, "boot-of-n1");

  Welcome welcome;
  welcome.server_epoch = 5;
  welcome.server_id = "abc";
  welcome.resume_after = {17};
  registry_.Execute(SendWelcome{connected.session, welcome});

  const auto message = agent->Read();
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->welcome().server_epoch(), 5u);
  EXPECT_EQ(message->welcome().resume_after_seq(), 17u);
  EXPECT_EQ(message->welcome().heartbeat_interval_ms(), 500);
}

TEST_F(AgentStreamTest, ReportsOfAMessageComeAsOneEventBeforeItsHeartbeat) {
  StartServer();
  const auto agent = Connect("n1");
  v1::AgentMessage message = StepsOf(1, 3);
  *message.mutable_heartbeat() = HeartbeatOf("n1").heartbeat();
  ASSERT_TRUE(agent->Write(message));
  ASSERT_TRUE(sink_.WaitFor<AgentHeartbeat>(1));

  const auto events = sink_.Events();
  ASSERT_EQ(events.size(), 3u);
  const auto& reports = std::get<AgentReports>(events[1]);
  EXPECT_EQ(reports.session, LastSession());
  ASSERT_EQ(reports.reports.size(), 3u);
  EXPECT_EQ(reports.reports[2].seq.value, 3u);
  EXPECT_TRUE(std::holds_alternative<AgentHeartbeat>(events[2]));
  EXPECT_EQ(endpoint_->Counts().reports_accepted, 3u);
}

TEST_F(AgentStreamTest, CommandsArriveInOrder) {
  StartServer();
  const auto agent = Connect("n1");
  for (int i = 1; i <= 40; ++i) {
    registry_.Execute(
        SendCommand{LastSession(), SaveAt(i, "save/" + std::to_string(i))});
  }
  std::vector<std::int64_t> steps;
  while (steps.size() < 40) {
    const auto message = agent->Read();
    ASSERT_TRUE(message.has_value());
    for (const auto& command : message->commands()) {
      steps.push_back(command.save().step());
    }
  }
  EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
}

TEST_F(AgentStreamTest, AcksAreCoalescedAndLeaveWhenDue) {
  StartServer();
  const auto agent = Connect("n1");
  registry_.Execute(AckReports{LastSession(), {1}});
  EXPECT_EQ(agent->Read()->ack_seq(), 1u);  // The first leaves at once.

  registry_.Execute(AckReports{LastSession(), {2}});
  registry_.Execute(AckReports{LastSession(), {3}});
  clock_.Advance(OutgoingQueue::kAckInterval);
  ASSERT_TRUE(agent->Write(HeartbeatOf("n1")));
  EXPECT_EQ(agent->Read()->ack_seq(), 3u);  // One for both.

  registry_.Execute(
      AckReports{LastSession(), {3 + OutgoingQueue::kAckReports}});
  EXPECT_EQ(agent->Read()->ack_seq(), 3 + OutgoingQueue::kAckReports);

  registry_.Execute(AckReports{LastSession(), {100}});
  EXPECT_EQ(agent->Read()->ack_seq(), 100u);
  registry_.Execute(AckReports{LastSession(), {101}});
  clock_.Advance(OutgoingQueue::kAckInterval);
  registry_.Tick();  // Also when the agent says nothing more.
  EXPECT_EQ(agent->Read()->ack_seq(), 101u);
}

TEST_F(AgentStreamTest, EffectsForASessionThatIsGoneAreDropped) {
  StartServer();
  {
    const auto agent = Connect("n1");
    agent->HangUp();
    EXPECT_TRUE(agent->End().ok());
  }
  ASSERT_TRUE(sink_.WaitFor<AgentDisconnected>(1));
  EXPECT_EQ(sink_.All<AgentDisconnected>()[0].session, LastSession());
  registry_.Execute(SendCommand{LastSession(), SaveAt(1, "save/1")});
  registry_.Execute(AckReports{LastSession(), {1}});
  registry_.Execute(CloseSession{LastSession(), absl::AbortedError("late")});
}

TEST_F(AgentStreamTest, ALostConnectionIsADisconnect) {
  StartServer();
  const auto agent = Connect("n1");
  agent->Cancel();
  ASSERT_TRUE(sink_.WaitFor<AgentDisconnected>(1));
}

TEST_F(AgentStreamTest, TheReplacedSessionEndsAbortedAndTheNewOneLives) {
  StartServer();
  const auto older = Connect("n1");
  const SessionId older_session = LastSession();
  const auto newer = Connect("n1");
  ASSERT_NE(LastSession(), older_session);
  registry_.Execute(CloseSession{
      older_session, absl::AbortedError("a newer agent of n1 connected")});

  const grpc::Status status = older->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_message(), HasSubstr("newer agent"));
  ASSERT_TRUE(sink_.WaitFor<AgentDisconnected>(1));
  EXPECT_EQ(sink_.All<AgentDisconnected>()[0].session, older_session);
  ASSERT_TRUE(newer->Write(HeartbeatOf("n1")));
  EXPECT_TRUE(sink_.WaitFor<AgentHeartbeat>(1));
}

TEST_F(AgentStreamTest, AFullQueueEndsTheStreamAndItsEndIsToldLater) {
  StartServer();
  const auto agent = Connect("n1");
  sink_.SetCapacity(sink_.Events().size());
  ASSERT_TRUE(agent->Write(StepsOf(1, 2)));

  const grpc::Status status = agent->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("queue is full"));
  EXPECT_EQ(endpoint_->Counts().reports_refused, 2u);
  // The second refusal is that of the stream's end.
  ASSERT_TRUE(sink_.WaitForRefusals(2));
  sink_.SetCapacity(1000);
  registry_.Tick();
  ASSERT_TRUE(sink_.WaitFor<AgentDisconnected>(1));
}

struct Malformed {
  const char* name;
  std::function<v1::AgentMessage()> message;
  const char* error;  // Part of it.
};

TEST_F(AgentStreamTest, WhatIsMalformedIsRefusedWithTheFieldsName) {
  StartServer();
  const std::vector<Malformed> cases = {
      {"a second Hello", [] { return HelloOf("n1"); }, "hello: found a second"},
      {"another node", [] { return HeartbeatOf("n2"); },
       "heartbeat.node: found n2, expected n1"},
      {"another life",
       [] {
         auto message = HeartbeatOf("n1");
         message.mutable_heartbeat()->set_boot_id("other");
         return message;
       },
       "heartbeat.boot_id: found other"},
      {"no sequence number", [] { return StepsOf(0, 1); },
       "reports[0].seq: found 0"},
      {"order",
       [] {
         auto message = StepsOf(5, 2);
         message.mutable_reports(1)->set_seq(5);
         return message;
       },
       "reports[1].seq: found 5, expected more than the one before, 5"},
      {"size of values",
       [] {
         auto message = StepsOf(1, 1);
         message.mutable_reports(0)->mutable_steps()->set_values("abc");
         return message;
       },
       "reports[0].steps.values: found 3 bytes"},
      {"no body",
       [] {
         v1::AgentMessage message;
         message.add_reports()->set_seq(1);
         return message;
       },
       "reports[0].body: found none"},
  };
  for (const Malformed& one : cases) {
    SCOPED_TRACE(one.name);
    const auto agent = Connect("n1");
    ASSERT_TRUE(agent->Write(one.message()));
    const grpc::Status status = agent->End();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(one.error));
  }
  EXPECT_TRUE(sink_.All<AgentReports>().empty());
  EXPECT_TRUE(sink_.All<AgentHeartbeat>().empty());
}

TEST_F(AgentStreamTest, AStreamThatDoesNotBeginWithAGoodHelloIsRefused) {
  StartServer();
  auto bad_name = HelloOf("n1");
  bad_name.mutable_hello()->mutable_state()->set_node("../etc");
  auto newer = HelloOf("n1");
  newer.mutable_hello()->set_protocol_version(2);
  const std::vector<std::pair<v1::AgentMessage, std::string>> cases = {
      {HeartbeatOf("n1"), "hello: found none"},
      {bad_name, "hello.state.node: found '../etc'"},
      {newer, "hello.protocol_version: found 2, expected 1..1"},
  };
  for (const auto& [message, error] : cases) {
    TestAgent agent(Channel());
    ASSERT_TRUE(agent.Write(message));
    const grpc::Status status = agent.End();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(error));
  }
  EXPECT_TRUE(sink_.Events().empty());
}

TEST_F(AgentStreamTest, AMessageOverTheLimitEndsItsStreamAlone) {
  StartServer();
  const auto honest = Connect("n1");
  const auto greedy = Connect("n2");
  greedy->Write(StepsOf(1, 1, 300'000));
  const grpc::Status status = greedy->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("larger than max"));
  ASSERT_TRUE(honest->Write(StepsOf(1, 1)));
  EXPECT_TRUE(sink_.WaitFor<AgentReports>(1));
}

TEST_F(AgentStreamTest, SilentStreamsAreEnded) {
  StartServer();
  const auto known = Connect("n1");
  TestAgent nameless(Channel());
  ASSERT_TRUE(known->Write(HeartbeatOf("n1")));
  ASSERT_TRUE(sink_.WaitFor<AgentHeartbeat>(1));
  while (registry_.Size() < 2) {  // The second stream is being opened.
    ASSERT_TRUE(known->Write(HeartbeatOf("n1")));
  }

  clock_.Advance(std::chrono::seconds(11));
  registry_.Tick();
  EXPECT_THAT(nameless.End().error_message(), HasSubstr("no Hello within"));
  clock_.Advance(std::chrono::seconds(121));
  registry_.Tick();
  const grpc::Status status = known->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("nothing heard"));
}

TEST_F(AgentStreamTest, APeerThatDoesNotReadCostsABoundAndIsCut) {
  StartServer();
  const auto deaf = Connect("n1");
  const auto honest = Connect("n2");
  const SessionId session = sink_.All<AgentConnected>()[0].session;
  Command large = SaveAt(1, "start/0");
  StartCommand start;
  start.argv = {std::string(100'000, 'x')};
  start.ranks = {{{0}, 0, ""}};
  large.body = start;
  for (int i = 0; i < 2000; ++i) {  // 200 MB, if they were all kept.
    large.command_id = "start/" + std::to_string(i);
    registry_.Execute(SendCommand{session, large});
  }
  EXPECT_GT(endpoint_->Counts().commands_dropped, 1000u);

  registry_.Execute(CloseSession{session, absl::AbortedError("replaced")});
  clock_.Advance(std::chrono::seconds(6));
  registry_.Tick();
  ASSERT_TRUE(sink_.WaitFor<AgentDisconnected>(1));
  ASSERT_TRUE(honest->Write(HeartbeatOf("n2")));
  EXPECT_TRUE(sink_.WaitFor<AgentHeartbeat>(1));
}

TEST_F(AgentStreamTest, TheEndOfTheServiceIsUnavailable) {
  StartServer();
  const auto agent = Connect("n1");
  registry_.CloseAll(absl::UnavailableError("the server is stopping"));
  EXPECT_EQ(agent->End().error_code(), grpc::StatusCode::UNAVAILABLE);
  TestAgent late(Channel());
  EXPECT_EQ(late.End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AgentStreamTest, OnePollingThreadServesAllWhileTheOthersRest) {
  StartServer();
  const std::size_t most =
      std::clamp<std::size_t>(std::thread::hardware_concurrency() / 2, 2, 16);
  PollerRest pollers(std::chrono::milliseconds(1));
  std::size_t heartbeats = 0;
  std::vector<std::unique_ptr<TestAgent>> agents;
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(pollers.WaitForSleepers(most - 1));
    agents.push_back(Connect("n" + std::to_string(round)));
    for (const auto& agent : agents) {
      const std::string node = "n" + std::to_string(&agent - agents.data());
      ASSERT_TRUE(agent->Write(HeartbeatOf(node)));
      ASSERT_TRUE(sink_.WaitFor<AgentHeartbeat>(++heartbeats));
    }
    registry_.Execute(AckReports{LastSession(), {7}});
    EXPECT_EQ(agents.back()->Read()->ack_seq(), 7u);
    pollers.Wake();
  }
}

TEST_F(AgentStreamTest, ManyAgentsAreHeardInTheirOwnOrder) {
  constexpr int kAgents = 64;
  constexpr int kMessages = 25;
  StartServer();
  std::vector<std::thread> threads;
  for (int i = 0; i < kAgents; ++i) {
    threads.emplace_back([this, i] {
      TestAgent agent(Channel());
      agent.Write(HelloOf("n" + std::to_string(i)));
      for (int m = 0; m < kMessages; ++m) {
        agent.Write(StepsOf(static_cast<std::uint64_t>(m) * 2 + 1, 2));
      }
      agent.HangUp();
      EXPECT_TRUE(agent.End().ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(sink_.WaitFor<AgentDisconnected>(kAgents));

  std::map<SessionId, std::uint64_t> next;
  for (const Event& event : sink_.Events()) {
    if (const auto* connected = std::get_if<AgentConnected>(&event)) {
      next[connected->session] = 1;
    } else if (const auto* reports = std::get_if<AgentReports>(&event)) {
      for (const Report& report : reports->reports) {
        EXPECT_EQ(report.seq.value, next.at(reports->session)++);
      }
    }
  }
  ASSERT_EQ(next.size(), static_cast<std::size_t>(kAgents));
  for (const auto& [session, seq] : next) EXPECT_EQ(seq, 2u * kMessages + 1);
}

}  // namespace
}  // namespace steadyrun
