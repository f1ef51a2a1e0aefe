#include "server/app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include "base/file.h"

namespace steadyrun {
namespace {

using testing::HasSubstr;

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"STEADYRUN_CONFIG", "STEADYRUN_GRPC_ADDRESS", "STEADYRUN_DATA_DIR",
          "STEADYRUN_KEEP_DAYS", "STEADYRUN_INSECURE", "STATE_DIRECTORY"}) {
      ::unsetenv(name);
    }
  }
  absl::StatusOr<CommandLine> Parse(std::vector<std::string> arguments) {
    std::vector<const char*> argv = {"steadyrun-server"};
    for (const std::string& argument : arguments) {
      argv.push_back(argument.c_str());
    }
    return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
  }
  ServerConfig Good(std::vector<std::string> arguments) {
    const auto line = Parse(std::move(arguments));
    EXPECT_TRUE(line.ok()) << line.status();
    return line.ok() ? line->config : ServerConfig{};
  }
  std::string Error(std::vector<std::string> arguments) {
    const auto line = Parse(std::move(arguments));
    EXPECT_FALSE(line.ok());
    return std::string(line.status().message());
  }
  std::string WriteFile(const std::string& text) {
    const std::string path = testing::TempDir() + "/steadyrun-server.toml";
    std::ofstream(path) << text;
    return path;
  }
};

TEST_F(ConfigTest, DefaultsListenOnLoopbackOnly) {
  const ServerConfig config = Good({});
  EXPECT_EQ(config.grpc_address, "127.0.0.1:7070");
  EXPECT_EQ(config.http_address, "127.0.0.1:7080");
  EXPECT_EQ(config.data_dir, "/var/lib/steadyrun");
  EXPECT_EQ(config.keep_step_rows, 20'000);
}

TEST_F(ConfigTest, AFlagWinsOverTheEnvironmentAndThatOverTheFile) {
  const std::string file = WriteFile(
      "[server]\ngrpc_address = \"127.0.0.1:1\"\ndata_dir = \"/file\"\n"
      "[retention]\ndays = 3\n");
  ::setenv("STEADYRUN_CONFIG", file.c_str(), 1);
  ::setenv("STEADYRUN_GRPC_ADDRESS", "127.0.0.1:2", 1);
  ::setenv("STEADYRUN_KEEP_DAYS", "4", 1);
  const ServerConfig config = Good({"--grpc-address", "127.0.0.1:3"});
  EXPECT_EQ(config.grpc_address, "127.0.0.1:3");
  EXPECT_EQ(config.keep_days, 4);
  EXPECT_EQ(config.data_dir, "/file");
}

TEST_F(ConfigTest, SystemdsStateDirectoryIsTheDefault) {
  ::setenv("STATE_DIRECTORY", "/var/lib/other", 1);
  EXPECT_EQ(Good({}).data_dir, "/var/lib/other");
  EXPECT_EQ(Good({"--data-dir", "/mine"}).data_dir, "/mine");
}

TEST_F(ConfigTest, TheExampleFileIsTheDefaults) {
  const auto text = ReadFile("deploy/config/server.example.toml");
  ASSERT_TRUE(text.ok()) << text.status();
  ServerConfig config;
  config.grpc_address = config.http_address = config.data_dir = "unset";
  config.log.level = "unset";
  config.keep_step_rows = config.keep_days = 0;
  config.insecure = true;
  const absl::Status status = ReadConfigFile(*text, "example", &config);
  ASSERT_TRUE(status.ok()) << status;
  const ServerConfig defaults;
  EXPECT_EQ(config.grpc_address, defaults.grpc_address);
  EXPECT_EQ(config.http_address, defaults.http_address);
  EXPECT_EQ(config.data_dir, defaults.data_dir);
  EXPECT_EQ(config.insecure, defaults.insecure);
  EXPECT_EQ(config.log.level, defaults.log.level);
  EXPECT_EQ(config.keep_step_rows, defaults.keep_step_rows);
  EXPECT_EQ(config.keep_days, defaults.keep_days);
}

TEST_F(ConfigTest, NotificationsAreReadWithTheirSecrets) {
  const std::string secret = WriteFile(" s3cret\n");
  ServerConfig config;
  ASSERT_TRUE(ReadConfigFile("[notify]\nremind_after = \"1h\"\n"
                             "min_severity = \"critical\"\n"
                             "[notify.webhook]\nurl = \"https://x/y\"\n"
                             "secret_file = \"" +
                                 secret +
                                 "\"\n[notify.alertmanager]\n"
                                 "url = \"http://am:9093/\"\n",
                             "f", &config)
                  .ok());
  EXPECT_EQ(config.notifier.notice.remind_after, std::chrono::hours(1));
  EXPECT_EQ(config.notifier.notice.min_severity, Severity::kCritical);
  EXPECT_EQ(config.notifier.sinks.webhook_secret, "s3cret");
  EXPECT_EQ(config.notifier.alertmanager_url, "http://am:9093");
}

TEST_F(ConfigTest, MistakesInNotificationsAreNamed) {
  ServerConfig config;
  const absl::Status status = ReadConfigFile(
      "[notify.slack]\nurl = \"ftp://x\"\n[notify.mail]\n"
      "url = \"smtp://x\"\n[notify.pagerduty]\n"
      "routing_key_file = \"/nonexistent\"\n[notify.teams]\nurl = \"x\"\n",
      "f", &config);
  const std::string error(status.message());
  EXPECT_THAT(error, HasSubstr("f:2:7"));
  EXPECT_THAT(error, HasSubstr("mail needs notify.mail.from"));
  EXPECT_THAT(error, HasSubstr("/nonexistent"));
  EXPECT_THAT(error, HasSubstr("teams"));
}

TEST_F(ConfigTest, AMailAddressThatCouldSayMoreIsRefused) {
  ServerConfig config;
  const absl::Status status = ReadConfigFile(
      "[notify.mail]\nurl = \"smtp://x\"\nfrom = \"a@x>\\r\\nRCPT\"\n"
      "to = [\"ops@x\", \"b@x, c@x\", \"nobody\", \"ops@x\"]\n",
      "f", &config);
  const std::string error(status.message());
  EXPECT_THAT(error, HasSubstr("f:3:8"));
  EXPECT_THAT(error, HasSubstr("'b@x, c@x' is no address"));
  EXPECT_THAT(error, HasSubstr("'nobody' is no address"));
  EXPECT_THAT(error, HasSubstr("'ops@x' twice"));
}

TEST_F(ConfigTest, MistakesInTheFileAreNamedWithTheirPlace) {
  const std::string file =
      WriteFile("[server]\ngrpc_adress = \"x\"\n[retention]\ndays = 0\n");
  const std::string error = Error({"--config", file});
  EXPECT_THAT(error, HasSubstr(file + ":2:1"));
  EXPECT_THAT(error, HasSubstr("grpc_address"));
  EXPECT_THAT(error, HasSubstr(file + ":4:"));
}

TEST_F(ConfigTest, AMissingFileIsNamed) {
  EXPECT_THAT(Error({"--config", "/no/such.toml"}), HasSubstr("/no/such.toml"));
}

TEST_F(ConfigTest, BeyondLoopbackNeedsTlsAndTokens) {
  for (const char* flag : {"--grpc-address", "--http-address"}) {
    const std::string error = Error({flag, "0.0.0.0:7070"});
    EXPECT_THAT(error, HasSubstr("0.0.0.0:7070"));
    EXPECT_THAT(error, HasSubstr("--insecure"));
    EXPECT_TRUE(Good({flag, "0.0.0.0:7070", "--insecure"}).insecure);
  }
  EXPECT_EQ(Good({"--grpc-address", "0.0.0.0:7070", "--tls-certificate", "c",
                  "--tls-key", "k", "--tokens", "t"})
                .tokens_file,
            "t");
}

TEST_F(ConfigTest, HalfOfATlsPairIsRefused) {
  EXPECT_THAT(Error({"--tls-certificate", "c"}), HasSubstr("key"));
}

TEST_F(ConfigTest, UnknownFlagsAndBadNumbersAreRefused) {
  EXPECT_THAT(Error({"--bogus"}), HasSubstr("--help"));
  EXPECT_THAT(Error({"--keep-days", "0"}), HasSubstr("--keep-days"));
  EXPECT_THAT(Error({"--keep-days", "many"}), HasSubstr("--keep-days"));
}

TEST_F(ConfigTest, HelpAndVersionEndWithSuccess) {
  for (const char* flag : {"--help", "--version"}) {
    const auto line = Parse({flag});
    ASSERT_TRUE(line.ok());
    EXPECT_EQ(line->exit_code, 0);
    EXPECT_FALSE(line->text.empty());
  }
}

}  // namespace
}  // namespace steadyrun
