// The agent and its server: finding each other, losing each other.

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "spdlog/fmt/fmt.h"
#include "tests/integration/agent/agent_rig.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

class ConnectionTest : public AgentTest {};

TEST_F(ConnectionTest, SaysWhoItIsAndBeatsAtTheGivenPace) {
  StartAgent();
  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return heard.heartbeats >= 5; }));

  const Heard heard = server_.heard();
  EXPECT_EQ(heard.hellos[0].state.node, "node-1");
  EXPECT_THAT(heard.state.boot_id, HasSubstr(":"));
  EXPECT_EQ(heard.state.address, "127.0.0.1");
  EXPECT_EQ(heard.state.agent_pid, agent());
  EXPECT_GT(heard.state.rendezvous_port, 0);
  EXPECT_EQ(heard.hellos[0].oldest_seq, ReportSeq{0});
}

TEST_F(ConnectionTest, ComesBackToAServerThatRestarts) {
  StartAgent();
  for (int round = 0; round < 3; ++round) {
    server_.Stop();
    ++server_.epoch;
    const std::size_t before = server_.heard().hellos.size();
    server_.Start();
    ASSERT_TRUE(server_.WaitUntil(
        [before](const Heard& heard) { return heard.hellos.size() > before; }));
  }
  const Heard heard = server_.heard();
  EXPECT_EQ(heard.hellos.back().max_server_epoch, 3u);
  EXPECT_EQ(heard.hellos.back().state.boot_id, heard.hellos[0].state.boot_id);
  EXPECT_EQ(heard.hellos.back().state.agent_incarnation,
            heard.hellos[0].state.agent_incarnation);
}

TEST_F(ConnectionTest, RefusesAServerOfAnOlderEpoch) {
  server_.epoch = 5;
  StartAgent();
  StartRanks("exec sleep 600");
  const pid_t pid = server_.heard().FindRank(0)->pid;

  server_.Stop();
  server_.epoch = 4;
  const std::size_t before = server_.heard().hellos.size();
  server_.Start();
  // It connects, hears the epoch, and leaves; again and again.
  ASSERT_TRUE(server_.WaitUntil([before](const Heard& heard) {
    return heard.hellos.size() >= before + 2;
  }));
  EXPECT_THAT(ReadText(scratch_ / "agent.log"), HasSubstr("older than 5"));
  EXPECT_TRUE(IsAlive(pid));

  server_.Stop();
  server_.epoch = 6;
  server_.Start();
  ASSERT_TRUE(SendUntil(
      [&] {
        EXPECT_TRUE(server_.WaitUntil(
            [](const Heard& heard) { return heard.streams > 0; }));
        return server_.Stop(2);
      }(),
      [](const Heard& heard) {
        const RankState* rank = heard.FindRank(0);
        return rank != nullptr && rank->life == RankLife::kExited;
      }));
  EXPECT_FALSE(IsAlive(pid));
}

// It stops with the agent stopped, not with the ranks.
TEST_F(ConnectionTest, GoesInPeaceOnSigterm) {
  StartAgent();
  StartRanks("exec sleep 600");
  const pid_t pid = server_.heard().FindRank(0)->pid;

  EXPECT_EQ(EndAgent(SIGTERM), 0);

  EXPECT_TRUE(IsAlive(pid));
}

TEST_F(ConnectionTest, ASecondAgentOfTheSameStateIsRefused) {
  StartAgent();
  const pid_t first = agent();
  SpawnAgent();

  int status = 0;
  ASSERT_EQ(::waitpid(agent(), &status, 0), agent());
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  EXPECT_THAT(ReadText(scratch_ / "agent.log"), HasSubstr(scratch_ / "state"));
  ::kill(first, SIGKILL);
  ::waitpid(first, &status, 0);
}

// Time itself is what is tested here.
void LetPass(std::chrono::milliseconds time) {
  ::poll(nullptr, 0, static_cast<int>(time.count()));
}

// A node that is frozen and thawed must not carry out what was meant for the
// moment before: by then another node may have its ranks.
TEST_F(ConnectionTest, OrdersThatWaitedWhileItStoodStillAreNotCarriedOut) {
  StartAgent();
  ASSERT_TRUE(SendUntil(server_.Stop(1), [](const Heard& heard) {
    return !heard.state.runs.empty();
  }));

  ::kill(agent(), SIGSTOP);
  server_.Send(server_.Start(1, Shells("echo x > started; exec sleep 600", 1)));
  LetPass(milliseconds(3500));
  ::kill(agent(), SIGCONT);

  ASSERT_TRUE(server_.WaitUntil(
      [](const Heard& heard) { return heard.hellos.size() == 2; }));
  const int before = server_.heard().heartbeats;
  ASSERT_TRUE(server_.WaitUntil(
      [before](const Heard& heard) { return heard.heartbeats >= before + 5; }));
  EXPECT_EQ(server_.heard().state.runs.at(0).started, AttemptId{0});
  EXPECT_EQ(ReadText(scratch_ / "started"), "");
  // Asked again on the new stream, it is done.
  Launch(Shells("exec sleep 600", 1));
}

// A CA, and certificates of a server and of a node, made by openssl.
class TlsTest : public AgentTest {
 protected:
  void SetUp() override {
    const std::string make = fmt::format(
        "cd '{}' && exec 2>openssl.log && "
        "for ca in ca other; do openssl req -x509 -newkey ec -pkeyopt "
        "ec_paramgen_curve:P-256 -nodes -keyout $ca.key -out $ca.pem "
        "-subj /CN=$ca -days 2 || exit 1; done; "
        "for who in server node; do "
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-keyout $who.key -out $who.csr -subj /CN=$who && "
        "printf 'subjectAltName=IP:127.0.0.1' > san && "
        "openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key "
        "-CAcreateserial -out $who.pem -days 2 -extfile san || exit 1; done",
        scratch_.path());
    ASSERT_EQ(::system(make.c_str()), 0) << ReadText(scratch_ / "openssl.log");
    server_.Stop();
    grpc::SslServerCredentialsOptions options(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = ReadText(scratch_ / "ca.pem");
    options.pem_key_cert_pairs = {
        {ReadText(scratch_ / "server.key"), ReadText(scratch_ / "server.pem")}};
    server_.credentials = grpc::SslServerCredentials(options);
    server_.Start();
  }
};

TEST_F(TlsTest, ANodeShowsItsCertificateAndItsToken) {
  std::ofstream(scratch_ / "token") << "secret\n";
  StartAgent({"--tls-ca", scratch_ / "ca.pem", "--tls-cert",
              scratch_ / "node.pem", "--tls-key", scratch_ / "node.key",
              "--token-file", scratch_ / "token"});

  EXPECT_EQ(server_.heard().hellos.at(0).token, "secret");
  EXPECT_THAT(ReadText(scratch_ / "agent.log"), Not(HasSubstr("secret")));
}

TEST_F(TlsTest, AServerOfAnotherAuthorityIsNotTrusted) {
  SpawnAgent({"--tls-ca", scratch_ / "other.pem"});
  ASSERT_TRUE(WaitForLog("cannot connect"));

  EXPECT_THAT(server_.heard().hellos, ::testing::IsEmpty());
}

}  // namespace
}  // namespace steadyrun::agent
