#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.h"

namespace steadyrun {

// What an operator asked to run. Immutable once accepted.
struct RunSpec {
  RunId run;
  std::vector<std::string> argv;
  std::string working_directory;
  std::map<std::string, std::string> environment;
  std::int32_t nodes = 1;
  std::int32_t ranks_per_node = 1;
  std::string checkpoint_directory;
  std::int64_t target_steps = 0;  // 0: unknown, the ranks' own end counts.
  std::string policy_toml;
  std::string policy_file;  // Its name, for messages.
  std::string log_format;   // CheckLogSource.
  std::string log_path;

  std::int32_t WorldSize() const { return nodes * ranks_per_node; }
  friend bool operator==(const RunSpec&, const RunSpec&) = default;
};

}  // namespace steadyrun
