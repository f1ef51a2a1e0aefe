#pragma once

// What a trial found, as text: findings beside the truth.

#include <string>

#include "fleet/sim/trial.h"

namespace steadyrun::fleet {

// kind,detector,detected_seconds,detected_step,onset_step,node,rank,severity,
// advice,reason; claims and incidents by the time of their detection.
std::string FindingsCsv(const TrialResult& result);

// {"run", "profile", "ranks", "seed", "steps", "attempts",
//  "simulated_seconds", "truth": [...], "findings": [...]}
std::string TrialJson(const TrialResult& result, const JobOptions& job);

// For people: the two lists, and what was missed is theirs to see.
std::string TrialText(const TrialResult& result, const JobOptions& job);

}  // namespace steadyrun::fleet
