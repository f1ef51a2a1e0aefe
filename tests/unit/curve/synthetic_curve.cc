#include "tests/unit/curve/synthetic_curve.h"

#include <algorithm>
#include <cmath>

#include "tests/unit/curve/draw.h"

namespace steadyrun {
namespace {

// Excess of the loss in sigmas, and factor of the norm, k steps after onset.
struct FaultShape {
  explicit FaultShape(Draw& draw)
      : height(draw.LogUniform(8, 60)),
        ramp(draw.Uniform(1, 15)),
        decay(draw.LogUniform(3, 40)),
        climb(draw.Chance(0.5) ? draw.Uniform(0, 0.01) : 0),
        norm(draw.LogUniform(3, 50)),
        rate(draw.LogUniform(1.5, 6)),
        doubling(draw.Uniform(80, 300)) {}

  double Excess(CurveFault fault, double k) const {
    const double rising = std::min(1.0, (k + 1) / ramp);
    const double after = std::max(0.0, k - ramp);
    switch (fault) {
      case CurveFault::kNone:
        return 0;
      case CurveFault::kBenignSpike:
        return height * rising * std::exp(-after / decay);
      case CurveFault::kMalignantSpike:
        return height * rising *
               (0.8 + 0.2 * std::exp(-after / decay) + climb * after);
      case CurveFault::kDivergence:
        return rate * k / 100;
    }
    return 0;
  }

  double NormFactor(CurveFault fault, double k) const {
    if (fault == CurveFault::kDivergence) return std::exp2(k / doubling);
    return 1 + norm * Excess(fault, k) / height;
  }

  double height, ramp, decay, climb, norm, rate, doubling;
};

}  // namespace

std::string_view CurveFaultName(CurveFault fault) {
  switch (fault) {
    case CurveFault::kNone:
      return "none";
    case CurveFault::kBenignSpike:
      return "benign spike";
    case CurveFault::kMalignantSpike:
      return "malignant spike";
    case CurveFault::kDivergence:
      return "divergence";
  }
  return "?";
}

SyntheticCurve MakeCurve(std::uint64_t seed, CurveFault fault,
                         std::int64_t steps) {
  Draw draw(seed * 4 + static_cast<std::uint64_t>(fault));
  const double floor = draw.Uniform(1.5, 2.5);
  const double alpha = draw.Uniform(0.2, 0.5);
  const double start = draw.LogUniform(10, 50'000);
  const double noise = draw.LogUniform(0.003, 0.03);
  const bool is_heavy = draw.Chance(0.5);
  const double memory = draw.Chance(0.5) ? 0 : draw.Uniform(0.1, 0.5);
  const double norm_level = draw.LogUniform(0.1, 3);
  const double norm_noise = draw.Uniform(0.05, 0.25);
  const FaultShape shape(draw);
  SyntheticCurve curve;
  if (fault != CurveFault::kNone) {
    curve.onset = steps / 2 + static_cast<std::int64_t>(draw.Uniform(0, 100));
  }
  double previous = 0;
  double wander = 0;
  for (std::int64_t t = 0; t < steps; ++t) {
    // A run that diverges no longer learns.
    const bool is_stuck = fault == CurveFault::kDivergence && t > curve.onset;
    const double at = static_cast<double>(is_stuck ? curve.onset : t) + start;
    const double healthy = floor + 9 * std::pow(at, -alpha);
    const double sigma = noise * healthy;
    const double fresh = is_heavy ? draw.Student4() : draw.Normal();
    previous = memory * previous + std::sqrt(1 - memory * memory) * fresh;
    wander += -wander / 200 + 0.33 * std::sqrt(2.0 / 200) * draw.Normal();
    const double outlier = draw.Chance(1e-3) ? draw.Uniform(4, 15) : 0;
    const double blip = draw.Chance(1e-3) ? draw.Uniform(2, 8) : 1;
    double excess = 0;
    double factor = 1;
    if (curve.onset >= 0 && t >= curve.onset) {
      const auto k = static_cast<double>(t - curve.onset);
      excess = shape.Excess(fault, k);
      factor = shape.NormFactor(fault, k);
    }
    curve.loss.push_back(healthy +
                         sigma * (previous + wander + outlier + excess));
    curve.grad_norm.push_back(norm_level * std::pow(at, -0.1) * factor * blip *
                              std::exp(norm_noise * draw.Normal()));
  }
  return curve;
}

}  // namespace steadyrun
