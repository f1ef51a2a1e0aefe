#pragma once

#include <cstdint>

#include "server/engine/event.h"

namespace steadyrun {

// About how much memory an event holds on to while it waits in a queue. Equal
// for an event before and after it was moved.
std::int64_t QueuedBytes(const Event& event);

}  // namespace steadyrun
