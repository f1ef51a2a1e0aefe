#pragma once

#include <chrono>
#include <cstdint>

namespace steadyrun {

// Monotonic and wall time are different types on purpose: a deadline computed
// from one clock and compared with the other does not compile.
struct MonoClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonoClock, duration>;
  static constexpr bool is_steady = true;
};

// Durations and deadlines. Has no meaning on another machine or after a reboot.
using MonoTime = MonoClock::time_point;
using Duration = std::chrono::nanoseconds;

// For people and for storage, never for a decision.
using WallTime = std::chrono::sys_time<std::chrono::milliseconds>;

// The time of one event, as handed to pure code.
struct Now {
  MonoTime mono;
  WallTime wall;
  friend bool operator==(const Now&, const Now&) = default;
};

// The only source of time outside main(). Pure code never sees a Clock; it is
// handed `Now` by its caller. Implementations are thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonoTime MonoNow() const = 0;
  virtual WallTime WallNow() const = 0;
  Now Both() const { return {MonoNow(), WallNow()}; }
};

// CLOCK_MONOTONIC and CLOCK_REALTIME.
class SystemClock final : public Clock {
 public:
  MonoTime MonoNow() const override;
  WallTime WallNow() const override;
};

inline double ToSeconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}
inline Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(seconds));
}
inline double ToUnixSeconds(WallTime t) {
  return std::chrono::duration<double>(t.time_since_epoch()).count();
}
inline WallTime FromUnixMillis(std::int64_t ms) {
  return WallTime(std::chrono::milliseconds(ms));
}
inline std::int64_t ToUnixMillis(WallTime t) {
  return t.time_since_epoch().count();
}

}  // namespace steadyrun
