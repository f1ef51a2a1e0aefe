#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace steadyrun::agent {

struct ShimStart {
  std::string shim_path;
  std::string directory;  // Of the rank; holds its record.
  std::string working_directory;
  std::vector<std::string> argv;
  std::map<std::string, std::string> environment;
};

// Starts the shim in a session of its own with all signals blocked, so that an
// order that comes early waits for it. The pid of the shim, our child.
// INVALID_ARGUMENT, RESOURCE_EXHAUSTED (processes, memory), UNAVAILABLE.
absl::StatusOr<std::int32_t> SpawnShim(const ShimStart& start);

}  // namespace steadyrun::agent
