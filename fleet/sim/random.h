#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace steadyrun::fleet {

// Random numbers that are the same on every machine and in every order of
// asking: a stream is named by the seed and what it is for, so that the noise
// of step 40 does not depend on whether step 39 was ever made. SplitMix64
// (Steele, Lea, Flood 2014): passes BigCrush, one multiplication chain a draw.
// <random>'s distributions are not portable between standard libraries.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0,
                  std::uint64_t index = 0)
      : state_(Mix(Mix(Mix(seed) ^ stream) ^ index)) {}

  std::uint64_t Next() { return Mix(state_ += kGamma); }
  // In [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  double Uniform(double low, double high) {
    return low + (high - low) * Uniform();
  }
  // In [0, n).
  std::int64_t Below(std::int64_t n) {
    return static_cast<std::int64_t>(Uniform() * static_cast<double>(n));
  }
  bool Chance(double share) { return Uniform() < share; }
  // Mean 0, deviation 1; Box-Muller, two at a time.
  double Normal() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
    const double angle = 2 * std::numbers::pi * Uniform();
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }
  // Mean `mean`.
  double Exponential(double mean) { return -mean * std::log(1 - Uniform()); }
  std::int64_t Poisson(double mean) {
    // Sums of waiting times: exact, and fast for the counts of faults a day.
    std::int64_t count = 0;
    for (double at = Exponential(1); at < mean; at += Exponential(1)) ++count;
    return count;
  }

 private:
  static constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15;
  static std::uint64_t Mix(std::uint64_t x) {
    x += kGamma;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  std::uint64_t state_;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace steadyrun::fleet
