#pragma once

#include <string>

#include "server/engine/effect.h"

namespace steadyrun {

// {"text": "...", "run": "...", "incident": "run:3"}: chat services read the
// first, programs the rest. Valid JSON whatever the text holds. Pure.
std::string PageJson(const Page& page);

}  // namespace steadyrun
