#include "agent/supervisor/rank_environment.h"

#include <gmock/gmock.h>

namespace steadyrun::agent {
namespace {

using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

RankEnvironmentInput Input() {
  RankEnvironmentInput input;
  input.spawn.run = "run-1";
  input.spawn.attempt = AttemptId{3};
  StartCommand& start = input.spawn.start;
  start.ranks = {RankStart{Rank{5}, 1, "/ckpt/7/rank-5"}};
  start.world_size = 8;
  start.node_rank = 1;
  start.nodes = 2;
  start.master_address = "10.0.0.1";
  start.master_port = 29500;
  start.checkpoint_directory = "/ckpt/attempt-3";
  start.resume_step = Step{7};
  start.target_steps = 1500;
  input.node = "n1";
  input.state_uuid = "uuid";
  input.state_directory = "/var/lib/steadyrun";
  input.recorder_path = "/dev/shm/r";
  input.local_world_size = 4;
  return input;
}

TEST(RankEnvironmentTest, PythonHoldsNothingBackOfAFollowedLog) {
  EXPECT_EQ(RankEnvironment(Input(), {}).count("PYTHONUNBUFFERED"), 0u);
  RankEnvironmentInput input = Input();
  input.spawn.start.log_format = "auto";
  EXPECT_THAT(RankEnvironment(input, {}),
              Contains(Pair("PYTHONUNBUFFERED", "1")));
  input.spawn.start.environment["PYTHONUNBUFFERED"] = "";
  EXPECT_THAT(RankEnvironment(input, {}),
              Contains(Pair("PYTHONUNBUFFERED", "")));
}

TEST(RankEnvironmentTest, SaysWhatTorchAndTheLibraryRead) {
  const auto environment = RankEnvironment(Input(), {});

  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"RANK", "5"},
           {"LOCAL_RANK", "1"},
           {"WORLD_SIZE", "8"},
           {"LOCAL_WORLD_SIZE", "4"},
           {"NODE_RANK", "1"},
           {"GROUP_RANK", "1"},
           {"MASTER_ADDR", "10.0.0.1"},
           {"MASTER_PORT", "29500"},
           {"TORCHELASTIC_RUN_ID", "run-1"},
           {"TORCHELASTIC_RESTART_COUNT", "2"},
           {"STEADYRUN_RUN_ID", "run-1"},
           {"STEADYRUN_ATTEMPT", "3"},
           {"STEADYRUN_RANK", "5"},
           {"STEADYRUN_NODE", "n1"},
           {"STEADYRUN_STATE_UUID", "uuid"},
           {"STEADYRUN_STATE_DIR", "/var/lib/steadyrun"},
           {"STEADYRUN_RECORDER", "/dev/shm/r"},
           {"STEADYRUN_CHECKPOINT_DIR", "/ckpt/attempt-3"},
           {"STEADYRUN_RESUME_STEP", "7"},
           {"STEADYRUN_RESUME_PATH", "/ckpt/7/rank-5"},
           {"STEADYRUN_TARGET_STEPS", "1500"}}) {
    EXPECT_THAT(environment, Contains(Pair(name, value)));
  }
}

TEST(RankEnvironmentTest, KeepsTheAgentsSecretsAndSettingsBack) {
  const auto environment =
      RankEnvironment(Input(), {{"STEADYRUN_TOKEN", "x"},
                                {"STEADYRUN_FAILPOINT", "y"},
                                {"NOTIFY_SOCKET", "z"},
                                {"PATH", "/bin"}});

  EXPECT_THAT(environment, Contains(Pair("PATH", "/bin")));
  EXPECT_THAT(environment, Not(Contains(Key("STEADYRUN_TOKEN"))));
  EXPECT_THAT(environment, Not(Contains(Key("STEADYRUN_FAILPOINT"))));
  EXPECT_THAT(environment, Not(Contains(Key("NOTIFY_SOCKET"))));
}

TEST(RankEnvironmentTest, TheCommandGoesBeforeTheAgentAndTheMarkBeforeAll) {
  RankEnvironmentInput input = Input();
  input.spawn.start.environment = {{"PATH", "/opt/bin"},
                                   {"STEADYRUN_STATE_UUID", "forged"},
                                   {"STEADYRUN_ATTEMPT", "99"},
                                   {"OMP_NUM_THREADS", "1"}};

  const auto environment = RankEnvironment(input, {{"PATH", "/bin"}});

  EXPECT_THAT(environment, Contains(Pair("PATH", "/opt/bin")));
  EXPECT_THAT(environment, Contains(Pair("OMP_NUM_THREADS", "1")));
  EXPECT_THAT(environment, Contains(Pair("STEADYRUN_STATE_UUID", "uuid")));
  EXPECT_THAT(environment, Contains(Pair("STEADYRUN_ATTEMPT", "3")));
}

TEST(RankEnvironmentTest, WithoutARecorderTheLibraryIsToldNothing) {
  RankEnvironmentInput input = Input();
  input.recorder_path = "";

  EXPECT_THAT(RankEnvironment(input, {}),
              Not(Contains(Key("STEADYRUN_RECORDER"))));
}

}  // namespace
}  // namespace steadyrun::agent
