#pragma once

// Which faults befall a run, drawn from a profile's rates and a seed before
// it begins, so that the truth does not depend on what the detectors do.

#include <cstdint>
#include <vector>

#include "fleet/sim/fault.h"
#include "fleet/sim/profile.h"
#include "fleet/sim/random.h"

namespace steadyrun::fleet {

struct PlanShape {
  std::int32_t ranks = 1000;
  std::int64_t steps = 8640;
  std::uint64_t seed = 0;
};

// In order of onset, ids from 1. Faults may overlap, as they do in life.
std::vector<Fault> PlanFaults(const FleetProfile& profile,
                              const PlanShape& shape);

// One fault with the severity, scope and length that `random` gives its kind.
Fault DrawFault(FaultKind kind, Step onset, const FleetProfile& profile,
                std::int32_t ranks, Random& random);

}  // namespace steadyrun::fleet
