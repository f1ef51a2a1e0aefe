// What an agent tells Prometheus, and the real little server that serves it.

#include "agent/metrics/agent_metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "agent/metrics/metrics_server.h"

namespace steadyrun::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

NodeState MakeState(int ranks) {
  NodeRunState run;
  run.run = "gpt";
  for (int i = 0; i < ranks; ++i) {
    RankState rank;
    rank.local_rank = i;
    rank.life = RankLife::kAlive;
    rank.step = Step{41};
    run.ranks.push_back(rank);
  }
  NodeState state;
  state.node = "node-1";
  state.runs = {run};
  return state;
}

TEST(AgentMetricsTest, RanksAreSeriesByLocalRank) {
  const std::string text = RenderMetrics({}, MakeState(2));
  EXPECT_THAT(text, HasSubstr("steadyrun_agent_rank_step{node=\"node-1\","
                              "run=\"gpt\",local_rank=\"1\"} 41\n"));
  EXPECT_THAT(text, HasSubstr("steadyrun_agent_connected{node=\"node-1\"} 0"));
}

TEST(AgentMetricsTest, SeriesOfANodeHaveABound) {
  const std::string text = RenderMetrics({}, MakeState(4096));
  std::size_t series = 0;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    series += text[at] == '#' ? 0 : 1;
  }
  EXPECT_LE(series, 64u);
}

// Sends `request` and returns all of the answer.
std::string Ask(int port, const std::string& request) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) ==
      0) {
    ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::recv(fd, buffer, sizeof buffer, 0)) > 0) {
      answer.append(buffer, static_cast<std::size_t>(got));
    }
  }
  ::close(fd);
  return answer;
}

class MetricsServerTest : public testing::Test {
 protected:
  std::unique_ptr<MetricsServer> server_ =
      *MetricsServer::Start("127.0.0.1:0", [] { return "up 1\n"; });
};

TEST_F(MetricsServerTest, ServesMetricsAndNothingElse) {
  const std::string answer =
      Ask(server_->Port(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nup 1\n"));
  EXPECT_THAT(Ask(server_->Port(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
              StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(
      Ask(server_->Port(), "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
      StartsWith("HTTP/1.1 405 "));
}

TEST_F(MetricsServerTest, RubbishAndBodiesGetNoMetrics) {
  const std::string long_header(100'000, 'x');
  for (const std::string& request :
       {std::string("rubbish\r\n\r\n"),
        "GET /metrics HTTP/1.1\r\nA: " + long_header + "\r\n\r\n",
        std::string("POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n"
                    "too large")}) {
    EXPECT_THAT(Ask(server_->Port(), request), Not(HasSubstr("up 1")));
  }
  EXPECT_THAT(Ask(server_->Port(), "GET /metrics HTTP/1.1\r\n\r\n"),
              HasSubstr("up 1"));
}

// Idle connections use up the places; they go after their deadline.
TEST_F(MetricsServerTest, IdleConnectionsDoNotKeepOthersOutForEver) {
  std::vector<int> idle;
  for (int i = 0; i < 2 * MetricsServer::kMaxConnections; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(server_->Port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    idle.push_back(fd);
  }
  std::string answer;
  // Each refused try ends at once; the deadline is some seconds.
  for (int i = 0; i < 2'000 && answer.empty(); ++i) {
    answer = Ask(server_->Port(), "GET /metrics HTTP/1.1\r\n\r\n");
    ::poll(nullptr, 0, 10);  // Between tries, as each may be refused.
  }
  EXPECT_THAT(answer, HasSubstr("up 1"));
  for (const int fd : idle) ::close(fd);
}

TEST(MetricsServerAddressTest, MistakesAreNamed) {
  EXPECT_THAT(std::string(MetricsServer::Start("localhost", [] { return ""; })
                              .status()
                              .message()),
              HasSubstr("127.0.0.1:7081"));
  const auto first = MetricsServer::Start("127.0.0.1:0", [] { return ""; });
  const auto taken = MetricsServer::Start(
      "127.0.0.1:" + std::to_string((*first)->Port()), [] { return ""; });
  EXPECT_THAT(std::string(taken.status().message()),
              HasSubstr("--metrics-listen"));
}

}  // namespace
}  // namespace steadyrun::agent
