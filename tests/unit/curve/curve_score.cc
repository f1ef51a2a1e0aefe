#include "tests/unit/curve/curve_score.h"

#include "server/detect/curve/curve_watch.h"

namespace steadyrun {
namespace {

// A finding later than this after the onset is of something else.
constexpr std::int64_t kSpikeWindow = 100;
constexpr std::int64_t kDivergenceWindow = 200;

void Count(CurveFault fault, const SyntheticCurve& curve,
           const Verdicts& verdicts, CurveScore* score) {
  const bool is_divergence = fault == CurveFault::kDivergence;
  const std::int64_t window = is_divergence ? kDivergenceWindow : kSpikeWindow;
  bool is_found = false;
  bool is_judged = false;
  for (const Finding& finding : verdicts.findings) {
    const std::int64_t after = finding.step.value - curve.onset;
    const bool is_action = finding.advice > Advice::kReport;
    if (curve.onset < 0 || after < 0) {
      ++score->false_alarms;
      score->plateaus += finding.kind == IncidentKind::kPlateau ? 1 : 0;
      score->needless_actions += is_action ? 1 : 0;
      continue;
    }
    // A divergence steep enough is seen as a spike first; both name it.
    const bool is_kind = finding.kind == IncidentKind::kLossSpike ||
                         (finding.kind == IncidentKind::kDivergence &&
                          fault != CurveFault::kBenignSpike);
    if (is_kind && !is_found && after <= window) {
      is_found = true;
      score->delays.push_back(after);
    }
    if (!is_action) continue;
    if (fault == CurveFault::kBenignSpike) {
      ++score->needless_actions;
    } else if (!is_judged) {
      is_judged = true;
      score->judged_after.push_back(after);
      score->unclean_targets +=
          finding.rollback.below.value > curve.onset ? 1 : 0;
    }
  }
  score->found += is_found ? 1 : 0;
  score->judged += is_judged ? 1 : 0;
}

}  // namespace

CurveScore ScoreFault(CurveFault fault, std::uint64_t from, std::uint64_t to,
                      std::uint64_t curves, std::int64_t steps,
                      bool with_norm) {
  CurveScore score;
  CurveWatch watch{CurveOptions()};
  for (std::uint64_t seed = from; seed <= to; ++seed) {
    for (std::uint64_t i = 0; i < curves; ++i) {
      const SyntheticCurve curve = MakeCurve(seed * 1000 + i, fault, steps);
      WatchedAttempt attempt;
      attempt.run = "run-" + std::to_string(seed * 1000 + i);
      attempt.attempt = AttemptId{1};
      watch.Begin(attempt, Now());
      Verdicts verdicts;
      for (std::size_t t = 0; t < curve.loss.size(); ++t) {
        CurvePoint point;
        point.step = Step{static_cast<std::int64_t>(t)};
        point.loss = curve.loss[t];
        if (with_norm) point.grad_norm = curve.grad_norm[t];
        watch.ObservePoint(point, Now(), &verdicts);
      }
      ++score.curves;
      score.points += curve.onset >= 0 ? curve.onset : steps;
      Count(fault, curve, verdicts, &score);
    }
  }
  return score;
}

}  // namespace steadyrun
