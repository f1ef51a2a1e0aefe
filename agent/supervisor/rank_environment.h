#pragma once

#include <map>
#include <string>

#include "agent/core/effect.h"
#include "base/ids.h"

namespace steadyrun::agent {

struct RankEnvironmentInput {
  SpawnRank spawn;
  NodeId node;
  std::string state_uuid;
  std::string state_directory;
  std::string recorder_path;
  std::int32_t local_world_size = 0;  // Ranks of this start on this node.
};

// The whole environment of a rank: the agent's own (`base`) without its
// secrets, then the command's, then what the agent says
// (agent/recorder/environment.h). Pure.
std::map<std::string, std::string> RankEnvironment(
    const RankEnvironmentInput& input,
    const std::map<std::string, std::string>& base);

// This process's environment as a map.
std::map<std::string, std::string> OwnEnvironment();

}  // namespace steadyrun::agent
