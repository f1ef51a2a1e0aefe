#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "agent/app/agent_config.h"
#include "agent/app/rendezvous_port.h"
#include "agent/metrics/agent_metrics.h"
#include "base/file.h"
#include "tests/integration/agent/scratch.h"

namespace steadyrun::agent {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<AgentConfig> Parse(
    std::vector<const char*> args,
    const std::map<std::string, std::string>& environment = {}) {
  args.insert(args.begin(), "steadyrun-agent");
  auto parsed =
      ParseAgentConfig(static_cast<int>(args.size()), args.data(), environment);
  if (!parsed.ok()) return parsed.status();
  EXPECT_FALSE(parsed->answer.has_value());
  AgentConfig config = parsed->config;
  if (auto status = CompleteConfig(&config); !status.ok()) return status;
  return config;
}

class ConfigTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) {
    const std::string path = scratch_ / "agent.toml";
    std::ofstream(path) << text;
    return path;
  }
  Scratch scratch_;
};

TEST_F(ConfigTest, DefaultsAreOfOneMachine) {
  const auto config = Parse({});
  ASSERT_TRUE(config.ok()) << config.status();

  EXPECT_EQ(config->server, "127.0.0.1:7070");
  EXPECT_EQ(config->address, "127.0.0.1");
  EXPECT_FALSE(config->node.empty());
  EXPECT_FALSE(config->launch_allow.has_value());
  EXPECT_THAT(config->shim_path, HasSubstr("/steadyrun-shim"));
  EXPECT_EQ(config->spool_path, config->state_directory + "/spool.db");
}

TEST_F(ConfigTest, FlagsWinOverTheEnvironmentAndBothOverTheFile) {
  const std::string file = Write(
      "[agent]\nnode = 'file'\nstate_directory = '/file'\n"
      "[server]\naddress = '127.0.0.1:1'\nretry_max = '3s'\n"
      "[log]\nlevel = 'warn'\n");
  const auto config = Parse(
      {"--config", file.c_str(), "--node", "flag"},
      {{"STEADYRUN_AGENT_NODE", "env"}, {"STEADYRUN_AGENT_STATE_DIR", "/env"}});
  ASSERT_TRUE(config.ok()) << config.status();

  EXPECT_EQ(config->node, "flag");
  EXPECT_EQ(config->state_directory, "/env");
  EXPECT_EQ(config->server, "127.0.0.1:1");
  EXPECT_EQ(config->logging.level, "warn");
  EXPECT_EQ(config->retry.max, Duration(std::chrono::seconds(3)));
  EXPECT_EQ(config->retry.initial, Duration(milliseconds(100)));
}

TEST_F(ConfigTest, AnUnknownKeyIsRefusedWithItsPlaceAndTheNearestOne) {
  const std::string file = Write("[server]\nadress = '127.0.0.1:1'\n");
  const auto config = Parse({"--config", file.c_str()});

  ASSERT_FALSE(config.ok());
  EXPECT_THAT(
      std::string(config.status().message()),
      ::testing::AllOf(HasSubstr("agent.toml:2"), HasSubstr("address")));
}

TEST_F(ConfigTest, TheExampleIsValid) {
  const auto config = Parse({"--config", "deploy/config/agent.example.toml"});

  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->spool_max_bytes, 256u << 20);
}

TEST_F(ConfigTest, AServerElsewhereNeedsTlsAndAnAllowList) {
  EXPECT_FALSE(Parse({"--server", "10.0.0.1:7070"}).ok());

  const auto config = Parse({"--server", "10.0.0.1:7070", "--insecure"});
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_TRUE(config->launch_allow.has_value());
  EXPECT_TRUE(config->launch_allow->empty());

  const auto allowed = Parse({"--server", "10.0.0.1:7070", "--tls-ca", "ca.pem",
                              "--launch-allow", "/usr/bin/python3"});
  ASSERT_TRUE(allowed.ok()) << allowed.status();
  EXPECT_THAT(*allowed->launch_allow, ElementsAre("/usr/bin/python3"));
  EXPECT_EQ(allowed->tls->ca_file, "ca.pem");
}

TEST_F(ConfigTest, BadValuesAreRefused) {
  EXPECT_FALSE(Parse({"--node", "a/b"}).ok());
  EXPECT_FALSE(Parse({"--server", "localhost"}).ok());
  EXPECT_FALSE(Parse({"--token-file", "/nonexistent"}).ok());
  EXPECT_FALSE(Parse({"--config", "/nonexistent"}).ok());
}

TEST_F(ConfigTest, HelpAndVersionAreAnswered) {
  for (const char* flag : {"--help", "--version"}) {
    const char* const args[] = {"steadyrun-agent", flag};
    const auto parsed = ParseAgentConfig(2, args, {});
    ASSERT_TRUE(parsed.ok() && parsed->answer.has_value());
    EXPECT_EQ(parsed->answer->exit_code, 0);
    EXPECT_THAT(parsed->answer->text, HasSubstr("steadyrun-agent"));
  }
  const char* const args[] = {"steadyrun-agent", "--serer", "x"};
  EXPECT_EQ(ParseAgentConfig(3, args, {})->answer->exit_code, 2);
}

TEST_F(ConfigTest, ATokenIsReadWithoutItsNewline) {
  const std::string path = scratch_ / "token";
  ASSERT_TRUE(WriteFileAtomically(path, "secret\n").ok());

  EXPECT_EQ(Parse({"--token-file", path.c_str()})->token, "secret");
}

TEST(LoopbackTest, TellsThisMachineFromOthers) {
  for (const char* address :
       {"127.0.0.1:7070", "127.1.2.3:1", "localhost:1", "[::1]:1"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address :
       {"10.0.0.1:7070", "0.0.0.0:1", "127.0.0.1.example.org:1", "[::]:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(MetricsTest, RendersPrometheusText) {
  AgentMetrics metrics;
  metrics.is_connected = true;
  metrics.reports_sent = 42;
  NodeState state;
  state.node = "node-1";
  const std::string text = RenderMetrics(metrics, state);

  EXPECT_THAT(text, HasSubstr("# TYPE steadyrun_agent_connected gauge\n"));
  EXPECT_THAT(text,
              HasSubstr("steadyrun_agent_connected{node=\"node-1\"} 1\n"));
  EXPECT_THAT(
      text,
      HasSubstr("steadyrun_agent_reports_sent_total{node=\"node-1\"} 42"));
}

}  // namespace
}  // namespace steadyrun::agent
