#pragma once

#include <cstdint>

#include "base/clock.h"

namespace steadyrun {

struct BackoffOptions {
  Duration initial{std::chrono::milliseconds(200)};
  Duration max{std::chrono::seconds(5)};
  double factor = 2.0;
};

// Full jitter: uniform in (0, min(max, initial * factor^failures)], so that a
// thousand agents of a restarted server do not come back at one moment.
// Pure: `random` is any 64-bit random number.
Duration BackoffDelay(const BackoffOptions& options, int failures,
                      std::uint64_t random);

}  // namespace steadyrun
