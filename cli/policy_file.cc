#include "cli/policy_file.h"

#include "base/file.h"
#include "base/status_macros.h"
#include "server/policy/policy_parser.h"

namespace steadyrun::cli {

absl::StatusOr<Policy> ReadPolicy(const std::string& file) {
  if (file.empty()) return DefaultPolicy();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file, 1 << 20));
  return ParsePolicy(text, file);
}

}  // namespace steadyrun::cli
