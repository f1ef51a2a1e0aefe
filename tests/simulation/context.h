#pragma once

#include <array>
#include <cstdint>

#include "base/clock.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/random.h"
#include "tests/simulation/trace.h"

namespace steadyrun::sim {

// What all parts of one simulation share.
struct SimContext {
  explicit SimContext(std::uint64_t seed) : random(seed) {}

  SimRandom random;
  EventQueue queue;
  Trace trace;
  FaultOptions faults;
  std::array<std::uint64_t, kFaultKinds> injected{};
  std::int64_t stamps = 0;  // Given to step blocks; exact as a float.

  Duration now() const { return queue.now(); }
};

// Two machines' clocks have nothing in common but their pace.
struct HostClock {
  Duration mono_offset{};
  std::int64_t wall_offset_ms = 1'800'000'000'000;

  Now At(Duration now) const {
    return {MonoTime(now + mono_offset),
            FromUnixMillis(
                wall_offset_ms +
                std::chrono::duration_cast<std::chrono::milliseconds>(now)
                    .count())};
  }
};

}  // namespace steadyrun::sim
