#pragma once

// Seeded runs of reinforcement learning with a known fault, under verl's
// names.
//
// Healthy: the score saturates, with noise and a slow wander (prompts differ);
// entropy falls by up to a factor of three over the run, KL to the reference
// and response length grow with the score, the share of cut responses with the
// length, a held-out score is reported each 20 steps and rises.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/model/finding.h"

namespace steadyrun {

enum class RlFault {
  kNone,
  kKl,        // KL doubles in 3 to 10 steps, the clip fraction in as many.
  kEntropy,   // Falls to a tenth in 10 to 30 steps; the score stands still.
  kReward,    // Loses 8 to 20 times its noise within 10 to 40 steps.
  kLength,    // The cut share grows by 0.02 to 0.05 a step, the score falls.
  kMismatch,  // KL between the engines grows to 0.15 to 1 within 10 steps.
  kHacking,   // Reward and KL go on rising, score and held-out score fall.
};
inline constexpr RlFault kRlFaults[] = {RlFault::kKl,       RlFault::kEntropy,
                                        RlFault::kReward,   RlFault::kLength,
                                        RlFault::kMismatch, RlFault::kHacking};
std::string_view RlFaultName(RlFault fault);
// What has to be found; kNone has none.
IncidentKind RlFaultKind(RlFault fault);

struct SyntheticRl {
  std::vector<std::string> names;
  std::vector<std::vector<double>> rows;  // NaN: not reported.
  std::int64_t onset = -1;
};

SyntheticRl MakeRl(std::uint64_t seed, RlFault fault, std::int64_t steps);

struct RlScore {
  std::int64_t runs = 0;
  std::int64_t points = 0;  // Before the onset, or all.
  std::int64_t found = 0;   // The right kind within 60 steps.
  std::int64_t false_alarms = 0;
  std::vector<std::int64_t> delays;
};
RlScore ScoreRl(RlFault fault, std::uint64_t from, std::uint64_t to,
                std::uint64_t runs, std::int64_t steps);

}  // namespace steadyrun
