#pragma once

// Runs the detectors over seeded curves and counts. Shared by the unit test,
// which asserts, and the benchmark, which prints.

#include <cstdint>
#include <string>
#include <vector>

#include "tests/unit/curve/synthetic_curve.h"

namespace steadyrun {

struct CurveScore {
  std::int64_t curves = 0;
  std::int64_t points = 0;            // Healthy ones: before the onset, or all.
  std::int64_t found = 0;             // A finding of the right kind in time.
  std::int64_t judged = 0;            // ... with the right advice in the end.
  std::int64_t false_alarms = 0;      // Findings before the onset.
  std::int64_t plateaus = 0;          // Of these, for information only.
  std::int64_t needless_actions = 0;  // Advice above kReport for no reason.
  std::int64_t unclean_targets = 0;   // Rollback to after the onset.
  std::vector<std::int64_t> delays;   // Steps from onset to the first finding.
  std::vector<std::int64_t> judged_after;  // Steps to the advice.
};

// `curves` a seed, seeds from..to inclusive. `with_norm`: the gradient norm is
// reported.
CurveScore ScoreFault(CurveFault fault, std::uint64_t from, std::uint64_t to,
                      std::uint64_t curves, std::int64_t steps, bool with_norm);

}  // namespace steadyrun
