#pragma once

#include <string_view>

#include "base/clock.h"

namespace steadyrun {

// Tells systemd how the service is doing: "READY=1", "STOPPING=1",
// "WATCHDOG=1". Does nothing where NOTIFY_SOCKET is not set.
void NotifyServiceManager(std::string_view state);

// How often the service manager wants to hear WATCHDOG=1; zero: never.
Duration WatchdogInterval();

}  // namespace steadyrun
