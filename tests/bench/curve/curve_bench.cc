// Prints what the detectors of the training curve find on seeded curves, on
// the shared real ones, and what a point costs.
//   bench_curve [FIRST_SEED LAST_SEED [CURVES_A_SEED]]   default 10 19 20
// Seeds 0 to 9 chose the constants; report others.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "server/detect/curve/curve_watch.h"
#include "tests/unit/curve/curve_score.h"
#include "tests/unit/curve/real_curves.h"
#include "tests/unit/curve/synthetic_rl.h"

namespace steadyrun {
namespace {

std::int64_t Percentile(std::vector<std::int64_t> values, double q) {
  if (values.empty()) return -1;
  std::ranges::sort(values);
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(q * last + 0.5)];
}

void PrintScore(CurveFault fault, bool with_norm, const CurveScore& score) {
  const auto share = [&score](std::int64_t n) {
    return 100.0 * static_cast<double>(n) / static_cast<double>(score.curves);
  };
  std::printf("%-16s norm %-3s curves %4lld", CurveFaultName(fault).data(),
              with_norm ? "yes" : "no", static_cast<long long>(score.curves));
  if (fault != CurveFault::kNone) {
    std::printf("  found %5.1f %%, after p50 %lld p95 %lld steps",
                share(score.found),
                static_cast<long long>(Percentile(score.delays, 0.5)),
                static_cast<long long>(Percentile(score.delays, 0.95)));
  }
  if (!score.judged_after.empty()) {
    std::printf("  way back %5.1f %%, after p50 %lld p95 %lld, clean %.1f %%",
                share(score.judged),
                static_cast<long long>(Percentile(score.judged_after, 0.5)),
                static_cast<long long>(Percentile(score.judged_after, 0.95)),
                100 - 100.0 * static_cast<double>(score.unclean_targets) /
                          static_cast<double>(score.judged));
  }
  std::printf(
      "  false alarms %lld in %lld steps (%lld of them that the loss does not "
      "fall), needless actions %lld\n",
      static_cast<long long>(score.false_alarms),
      static_cast<long long>(score.points),
      static_cast<long long>(score.plateaus),
      static_cast<long long>(score.needless_actions));
}

void ScoreSeeds(std::uint64_t from, std::uint64_t to, std::uint64_t curves) {
  for (const bool with_norm : {true, false}) {
    PrintScore(
        CurveFault::kNone, with_norm,
        ScoreFault(CurveFault::kNone, from, to,
                   std::max<std::uint64_t>(1, curves / 4), 10'000, with_norm));
    for (const CurveFault fault :
         {CurveFault::kBenignSpike, CurveFault::kMalignantSpike,
          CurveFault::kDivergence}) {
      PrintScore(fault, with_norm,
                 ScoreFault(fault, from, to, curves, 1600, with_norm));
    }
  }
}

void PrintRl(RlFault fault, const RlScore& score) {
  std::printf("%-16s runs %4lld", RlFaultName(fault).data(),
              static_cast<long long>(score.runs));
  if (fault != RlFault::kNone) {
    std::printf("  found %5.1f %% within 60 steps, after p50 %lld p95 %lld",
                100.0 * static_cast<double>(score.found) /
                    static_cast<double>(score.runs),
                static_cast<long long>(Percentile(score.delays, 0.5)),
                static_cast<long long>(Percentile(score.delays, 0.95)));
  }
  std::printf("  false alarms %lld in %lld steps\n",
              static_cast<long long>(score.false_alarms),
              static_cast<long long>(score.points));
}

void ScoreRlSeeds(std::uint64_t from, std::uint64_t to, std::uint64_t runs) {
  PrintRl(RlFault::kNone, ScoreRl(RlFault::kNone, from, to, runs, 1000));
  for (const RlFault fault : kRlFaults) {
    PrintRl(fault, ScoreRl(fault, from, to, runs, 400));
  }
}

struct Fed {
  Verdicts verdicts;
  double seconds = 0;
};

Fed FeedReal(const RealCurve& curve) {
  CurveWatch watch{CurveOptions()};
  WatchedAttempt attempt;
  attempt.run = curve.name;
  attempt.attempt = AttemptId{1};
  watch.Begin(attempt, Now());
  Fed fed;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < curve.steps.size(); ++i) {
    watch.ObservePoint(curve.Point(i), Now(), &fed.verdicts);
  }
  fed.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return fed;
}

void RealCurves() {
  const std::filesystem::path folder = RealCurvesFolder();
  if (folder.empty()) {
    std::printf("no real curves: set STEADYRUN_DATA\n");
    return;
  }
  std::size_t points = 0;
  double seconds = 0;
  for (const std::string& name : RealCurveNames(folder)) {
    const RealCurve curve = ReadCurve(folder, name);
    const Fed fed = FeedReal(curve);
    points += curve.steps.size();
    seconds += fed.seconds;
    for (const Finding& finding : fed.verdicts.findings) {
      std::printf("%-28.28s %-16s onset %7lld found %7lld %s\n", name.c_str(),
                  finding.detector.c_str(),
                  static_cast<long long>(finding.onset_step.value),
                  static_cast<long long>(finding.step.value),
                  AdviceName(finding.advice).data());
    }
  }
  std::printf("%zu points of real curves: %.2f us a point\n", points,
              seconds / static_cast<double>(points) * 1e6);
}

void Cost() {
  const SyntheticCurve curve = MakeCurve(1, CurveFault::kNone, 200'000);
  CurveWatch watch{CurveOptions()};
  watch.Begin(WatchedAttempt{"run", AttemptId{1}, {}, 0}, Now());
  Verdicts verdicts;
  std::vector<std::int64_t> nanoseconds;
  nanoseconds.reserve(curve.loss.size());
  for (std::size_t i = 0; i < curve.loss.size(); ++i) {
    CurvePoint point;
    point.step = Step{static_cast<std::int64_t>(i)};
    point.loss = curve.loss[i];
    point.grad_norm = curve.grad_norm[i];
    point.loss_scale = 65536;
    const auto start = std::chrono::steady_clock::now();
    watch.ObservePoint(point, Now(), &verdicts);
    nanoseconds.push_back((std::chrono::steady_clock::now() - start).count());
  }
  double sum = 0;
  for (const std::int64_t ns : nanoseconds) sum += static_cast<double>(ns);
  std::printf(
      "a point with loss, norm and scale: mean %.2f us, p99 %.2f us, p99.9 "
      "%.2f us; state %zu bytes a run\n",
      sum / static_cast<double>(nanoseconds.size()) / 1e3,
      static_cast<double>(Percentile(nanoseconds, 0.99)) / 1e3,
      static_cast<double>(Percentile(nanoseconds, 0.999)) / 1e3,
      sizeof(CurveWatch));
}

}  // namespace
}  // namespace steadyrun

int main(int argc, char** argv) {
  const auto number = [&](int i, std::uint64_t fallback) {
    return i < argc ? std::strtoull(argv[i], nullptr, 10) : fallback;
  };
  steadyrun::ScoreSeeds(number(1, 10), number(2, 19), number(3, 20));
  steadyrun::ScoreRlSeeds(number(1, 10), number(2, 19), number(3, 20));
  steadyrun::RealCurves();
  steadyrun::Cost();
  return 0;
}
