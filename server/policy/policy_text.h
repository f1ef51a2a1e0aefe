#pragma once

#include <string>

#include "server/policy/policy.h"

namespace steadyrun {

// The whole effective policy as commented TOML: what `policy show` prints and
// what deploy/config/policy.example.toml holds. ParsePolicy reads it back to
// an equal value.
std::string RenderPolicy(const Policy& policy);

}  // namespace steadyrun
