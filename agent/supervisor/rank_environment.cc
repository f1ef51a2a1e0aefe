#include "agent/supervisor/rank_environment.h"

#include <unistd.h>

#include <string_view>

#include "agent/recorder/environment.h"

extern char** environ;

namespace steadyrun::agent {
namespace {

// The agent's own settings and secrets; a rank must not inherit them. All of
// STEADYRUN_* is the agent's or is set anew for each rank.
bool IsForRank(std::string_view name) {
  static constexpr std::string_view kPrefixes[] = {"STEADYRUN_"};
  static constexpr std::string_view kNames[] = {
      "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC",
      "LISTEN_FDS",    "LISTEN_PID",   "LISTEN_FDNAMES"};
  for (std::string_view prefix : kPrefixes) {
    if (name.substr(0, prefix.size()) == prefix) return false;
  }
  for (std::string_view own : kNames) {
    if (name == own) return false;
  }
  return true;
}

}  // namespace

std::map<std::string, std::string> RankEnvironment(
    const RankEnvironmentInput& input,
    const std::map<std::string, std::string>& base) {
  std::map<std::string, std::string> result;
  for (const auto& [name, value] : base) {
    if (IsForRank(name)) result[name] = value;
  }
  const StartCommand& start = input.spawn.start;
  for (const auto& [name, value] : start.environment) result[name] = value;

  RankStart rank;
  if (!start.ranks.empty()) rank = start.ranks.front();
  const std::string node_rank = std::to_string(start.node_rank);
  result["RANK"] = std::to_string(rank.rank.value);
  result["LOCAL_RANK"] = std::to_string(rank.local_rank);
  result["WORLD_SIZE"] = std::to_string(start.world_size);
  result["NODE_RANK"] = node_rank;
  result["GROUP_RANK"] = node_rank;
  result["MASTER_ADDR"] = start.master_address;
  result["MASTER_PORT"] = std::to_string(start.master_port);
  result["TORCHELASTIC_RUN_ID"] = input.spawn.run;
  result["TORCHELASTIC_RESTART_COUNT"] =
      std::to_string(input.spawn.attempt.value - 1);
  if (input.local_world_size > 0) {
    result["LOCAL_WORLD_SIZE"] = std::to_string(input.local_world_size);
  }

  // Python holds back what it prints to a file; a followed line would come
  // hours late, and a crash would take the last ones with it.
  if (!start.log_format.empty()) result.try_emplace("PYTHONUNBUFFERED", "1");

  result[SRUN_ENV_RUN_ID] = input.spawn.run;
  result[SRUN_ENV_ATTEMPT] = std::to_string(input.spawn.attempt.value);
  result[SRUN_ENV_RANK] = std::to_string(rank.rank.value);
  result[SRUN_ENV_NODE] = input.node;
  result[SRUN_ENV_STATE_UUID] = input.state_uuid;
  result[SRUN_ENV_STATE_DIR] = input.state_directory;
  result[SRUN_ENV_CHECKPOINT_DIR] = start.checkpoint_directory;
  result[SRUN_ENV_RESUME_STEP] = std::to_string(start.resume_step.value);
  result[SRUN_ENV_RESUME_PATH] = rank.resume_path;
  result[SRUN_ENV_TARGET_STEPS] = std::to_string(start.target_steps);
  if (!input.recorder_path.empty()) {
    result[SRUN_ENV_RECORDER] = input.recorder_path;
  }
  return result;
}

std::map<std::string, std::string> OwnEnvironment() {
  std::map<std::string, std::string> result;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr;
       ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return result;
}

}  // namespace steadyrun::agent
