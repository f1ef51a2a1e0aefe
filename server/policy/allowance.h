#pragma once

// "May it restart now?" Budgets, limits and backoff of a Policy applied to the
// restarts a run has behind it. Pure.

#include <cstdint>
#include <string>
#include <vector>

#include "server/model/finding.h"
#include "server/model/run_state.h"
#include "server/policy/policy.h"

namespace steadyrun {

// The failure at hand.
struct Failure {
  IncidentKind kind = IncidentKind::kCrash;
  std::string signature;
  Step step = kNoStep;
};

enum class AllowanceVerdict {
  kGo,    // Restart; not before `not_before`.
  kHalt,  // A limit is reached; `reason` says which.
};

struct Allowance {
  AllowanceVerdict verdict = AllowanceVerdict::kGo;
  Remedy remedy = Remedy::kRestart;  // The ladder's rung; kHalt on kHalt.
  MonoTime not_before;               // Backoff and cooldown, on kGo.
  std::string reason;                // One sentence, always filled.
};

// `restarts` are those of RunState, oldest first; `without_progress` is
// RunState::restarts_without_progress. Says nothing about Mode.
Allowance AllowRestart(const Policy& policy,
                       const std::vector<RestartRecord>& restarts,
                       std::int32_t without_progress, const Failure& failure,
                       MonoTime now);

// Automatic restarts left in the tighter of the two windows, for people.
std::int32_t RestartsLeft(const Policy& policy,
                          const std::vector<RestartRecord>& restarts,
                          MonoTime now);

// How often `failure` has happened at its step before, by the same-failure
// rule: equal kind and signature, step within policy.same_failure_steps.
std::int32_t CountSameFailure(const RestartPolicy& policy,
                              const std::vector<RestartRecord>& restarts,
                              const Failure& failure);

// True if a node blamed at these wall times is to be quarantined now.
bool IsToBeQuarantined(const QuarantinePolicy& policy,
                       const std::vector<WallTime>& blamed, WallTime now);

}  // namespace steadyrun
