#include "server/detect/curve/curve_report.h"

#include <spdlog/fmt/fmt.h>

#include <utility>

namespace steadyrun {

Finding& ReportFinding(const CurveContext& context, CurveClaim claim) {
  Finding finding = MakeFinding(claim.kind, *context.attempt, context.now);
  finding.step = context.step;
  finding.onset_step = claim.onset;
  finding.severity = claim.severity;
  finding.detector = claim.detector;
  finding.signature = fmt::format("{} {}", claim.detector, claim.phase);
  finding.advice = Advice::kReport;
  finding.reason = std::move(claim.reason);
  finding.evidence = std::move(claim.evidence);
  context.verdicts->findings.push_back(std::move(finding));
  return context.verdicts->findings.back();
}

void ReportMalignant(const CurveContext& context, CurveClaim claim) {
  const Step onset = claim.onset;
  claim.severity = Severity::kCritical;
  Finding& finding = ReportFinding(context, std::move(claim));
  const RollbackAnswer answer = context.rollback->Malignant(
      context.attempt->attempt, onset, context.step, context.stride);
  finding.advice = answer.advice;
  finding.rollback = answer.plan;
  finding.evidence.push_back(answer.why);
}

void ClearFinding(const CurveContext& context, IncidentKind kind,
                  std::string reason) {
  Clearance clearance;
  clearance.kind = kind;
  clearance.run = context.attempt->run;
  clearance.reason = std::move(reason);
  context.verdicts->cleared.push_back(std::move(clearance));
}

}  // namespace steadyrun
