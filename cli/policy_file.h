#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/policy/policy.h"

namespace steadyrun::cli {

// The policy in `file`; the default one if that is empty. Errors name every
// mistake with its line and column.
absl::StatusOr<Policy> ReadPolicy(const std::string& file);

}  // namespace steadyrun::cli
