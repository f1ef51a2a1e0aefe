#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>

#include "base/clock.h"

namespace steadyrun::sim {

// The one source of chance of a simulation. Own arithmetic instead of the
// standard distributions, which differ between standard libraries: a seed
// means the same history everywhere.
class SimRandom {
 public:
  explicit SimRandom(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t Next() { return engine_(); }
  // In [0, 1).
  double Unit() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }
  bool Chance(double probability) {
    return probability > 0 && Unit() < probability;
  }
  // In [low, high].
  std::int64_t Int(std::int64_t low, std::int64_t high) {
    const auto span = static_cast<std::uint64_t>(high - low) + 1;
    return low + static_cast<std::int64_t>(engine_() % span);
  }
  std::size_t Index(std::size_t size) {
    return static_cast<std::size_t>(engine_() % size);
  }
  Duration Time(Duration low, Duration high) {
    return Duration(Int(low.count(), high.count()));
  }
  // Time to the next event of a Poisson process.
  Duration Exponential(Duration mean) {
    return FromSeconds(-ToSeconds(mean) * std::log1p(-Unit()));
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace steadyrun::sim
