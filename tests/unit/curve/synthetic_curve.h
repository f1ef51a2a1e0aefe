#pragma once

// Seeded training curves with a known fault, for tests and the benchmark.
//
// Healthy: loss = floor + a * (t + t0)^-alpha, with noise of 0.3 to 3 % of the
// loss (normal or Student's t with 4 degrees of freedom), partly correlated
// from step to step, a slow wander of a third of it over some 200 steps, and
// single outliers of 4 to 15 sigma in a step of a thousand (one rank's
// micro-batch). Gradient norm: lognormal around a slow fall, single blips of 2
// to 8 times. Every parameter is drawn from the seed.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace steadyrun {

enum class CurveFault {
  kNone,
  kBenignSpike,     // 8 to 60 sigma, up to 15 steps to the peak, then decays
                    // with a time constant of 3 to 40 steps.
  kMalignantSpike,  // As high, but loses at most a fifth, or climbs on.
  kDivergence,      // No longer falls, and grows by 1.5 to 6 sigma each 100
                    // steps; the gradient norm doubles in 80 to 300.
};
std::string_view CurveFaultName(CurveFault fault);

struct SyntheticCurve {
  std::vector<double> loss;
  std::vector<double> grad_norm;
  std::int64_t onset = -1;  // First abnormal step; -1: none.
};

// Steps 0 to steps-1; the fault begins between steps/2 and steps/2 + 100.
SyntheticCurve MakeCurve(std::uint64_t seed, CurveFault fault,
                         std::int64_t steps);

}  // namespace steadyrun
