#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace steadyrun {

// Seeded numbers that are the same with every standard library.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}
  double Uniform(double low, double high) {
    return low +
           (high - low) * (static_cast<double>(engine_() >> 11) * 0x1.0p-53);
  }
  double LogUniform(double low, double high) {
    return std::exp(Uniform(std::log(low), std::log(high)));
  }
  bool Chance(double p) { return Uniform(0, 1) < p; }
  double Normal() {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform(0, 1)));
    return radius * std::cos(2 * M_PI * Uniform(0, 1));
  }
  // Student's t with 4 degrees of freedom, scaled to unit variance.
  double Student4() {
    double squares = 0;
    for (int i = 0; i < 4; ++i) squares += std::pow(Normal(), 2);
    return Normal() / std::sqrt(squares / 4) / std::sqrt(2.0);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace steadyrun
