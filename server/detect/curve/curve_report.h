#pragma once

// What the detectors of the curve share: where they are, and how they say
// what they found.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/detect/curve/rollback_plan.h"
#include "server/detect/watched_attempt.h"
#include "server/model/finding.h"

namespace steadyrun {

// Of the point being judged. Lives for one call.
struct CurveContext {
  const WatchedAttempt* attempt;
  Now now;
  Step step;
  std::int64_t stride = 1;  // Usual growth of the step number a point.
  // Points of the attempt since its start or since its steps went back.
  std::int64_t point = 0;
  RollbackPlanner* rollback;
  Verdicts* verdicts;
};

// Text of a finding.
struct CurveClaim {
  IncidentKind kind;
  std::string_view detector;  // Its section in docs/detection.md.
  std::string_view phase;     // Of the signature: "suspected", "malignant"...
  Severity severity = Severity::kWarning;
  Step onset;
  std::string reason;
  std::vector<std::string> evidence;
};

// Appends a finding with advice kReport; returns it for more to be set. The
// reference is good until the next verdict.
Finding& ReportFinding(const CurveContext& context, CurveClaim claim);
// As ReportFinding, but critical and with the advice of the rollback planner.
void ReportMalignant(const CurveContext& context, CurveClaim claim);
// The condition of `kind` is gone.
void ClearFinding(const CurveContext& context, IncidentKind kind,
                  std::string reason);

}  // namespace steadyrun
