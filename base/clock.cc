#include "base/clock.h"

namespace steadyrun {

MonoTime SystemClock::MonoNow() const {
  return MonoTime(std::chrono::steady_clock::now().time_since_epoch());
}

WallTime SystemClock::WallNow() const {
  return std::chrono::time_point_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now());
}

}  // namespace steadyrun
