// What all detectors of speed and integrity cost a step, on one core.

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <ctime>

#include "base/fast_median.h"
#include "server/detect/integrity/integrity_watch.h"
#include "server/detect/speed/speed_watch.h"
#include "server/detect/speed/window_medians.h"
#include "tests/bench/speed/fleet.h"
#include "tests/bench/speed/score.h"
#include "tests/bench/speed/sections.h"

namespace steadyrun::bench {
namespace {

// Of this thread's CPU, in microseconds: other programs on the machine do not
// count.
double CpuMicros() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e6 * static_cast<double>(now.tv_sec) +
         1e-3 * static_cast<double>(now.tv_nsec);
}

// Everything a trainer can report, with votes at every tenth step.
void MakeRow(Fleet& fleet, StepRow* row) {
  fleet.Draw();
  fleet.Begin(row);
  row->step_seconds = 1.5 + 0.01 * fleet.random.Normal();
  row->tokens = 4096.0 * static_cast<double>(fleet.Size());
  const std::vector<float> step(fleet.Size(),
                                static_cast<float>(row->step_seconds));
  std::vector<float> data(fleet.Size());
  std::vector<float> norm(fleet.Size());
  for (std::size_t r = 0; r < fleet.Size(); ++r) {
    data[r] = 0.01f * fleet.random.Uniform();
    norm[r] = 0.3f * (1 + 0.05f * fleet.random.Normal());
  }
  Fleet::Add(Metric::kStepSeconds, step, row);
  Fleet::Add(Metric::kTokens, fleet.tokens, row);
  Fleet::Add(Metric::kComputeSeconds, fleet.compute, row);
  Fleet::Add(Metric::kDataSeconds, data, row);
  Fleet::Add("sum_sq_len", fleet.squares, row);
  Fleet::Add("local_grad_norm", norm, row);
  Fleet::Add("equal/loss", step, row);
  if (fleet.step.value % 10 == 0) {
    Fleet::Add("hash/params/lo", std::vector<float>(fleet.Size(), 1234), row);
    Fleet::Add("hash/params/hi", std::vector<float>(fleet.Size(), 5678), row);
  }
}

void Measure(std::size_t ranks, int steps) {
  const ParallelLayout layout{.tensor = 8, .pipeline = 5};
  Fleet fleet(ranks, 1, {.work = 0.05f});
  SpeedWatch speed(SpeedOptions(), layout);
  IntegrityWatch integrity(IntegrityOptions(), layout);
  speed.Begin(fleet.attempt, kNow);
  integrity.Begin(fleet.attempt, kNow);
  Verdicts verdicts;
  StepRow row;
  std::vector<double> all;
  double speed_sum = 0;
  double integrity_sum = 0;
  for (int i = 0; i < steps; ++i) {
    MakeRow(fleet, &row);
    const double begin = CpuMicros();
    speed.ObserveRow(row, kNow, &verdicts);
    const double middle = CpuMicros();
    integrity.ObserveRow(row, kNow, &verdicts);
    const double end = CpuMicros();
    speed_sum += middle - begin;
    integrity_sum += end - middle;
    all.push_back(end - begin);
  }
  const double count = static_cast<double>(steps);
  fmt::print(
      "  {:>6} ranks: {:>8.1f} us a step (speed {:.1f}, integrity {:.1f}), p50 "
      "{:.1f}, p99 {:.1f}, max {:.1f}; {} bytes a rank; {} findings\n",
      ranks, (speed_sum + integrity_sum) / count, speed_sum / count,
      integrity_sum / count, Quantile(all, 0.5), Quantile(all, 0.99),
      Quantile(all, 1), (speed.StateBytes() + integrity.StateBytes()) / ranks,
      verdicts.findings.size());
}

// The two order statistics everything rests on, beside std::nth_element.
void MeasureMedians() {
  constexpr std::size_t kRanks = 100000;
  constexpr int kTimes = 50;
  Fleet fleet(kRanks, 1);
  fleet.Draw();
  MedianScratch scratch;
  std::vector<float> copy;
  float sum = 0;  // Used, so that nothing is left out.
  double begin = CpuMicros();
  for (int i = 0; i < kTimes; ++i) sum += FastMedian(fleet.compute, &scratch);
  const double fast = CpuMicros() - begin;
  begin = CpuMicros();
  for (int i = 0; i < kTimes; ++i) {
    copy = fleet.compute;
    std::nth_element(copy.begin(), copy.begin() + kRanks / 2, copy.end());
    sum += copy[kRanks / 2];
  }
  const double plain = CpuMicros() - begin;
  WindowMedians windows;
  windows.Reset(kRanks);
  for (std::size_t i = 0; i < WindowMedians::kWindow; ++i) {
    fleet.Draw();
    std::copy(fleet.compute.begin(), fleet.compute.end(),
              windows.Next().begin());
    windows.Commit();
  }
  begin = CpuMicros();
  for (int i = 0; i < kTimes; ++i) windows.Compute(0, 1);
  const double network = CpuMicros() - begin;
  std::vector<float> window(WindowMedians::kWindow);
  begin = CpuMicros();
  for (std::size_t r = 0; r + window.size() < kRanks; ++r) {
    std::copy_n(fleet.compute.begin() + static_cast<std::ptrdiff_t>(r),
                window.size(), window.begin());
    std::nth_element(window.begin(), window.begin() + 10, window.end());
    sum += window[10];
  }
  const double one_by_one = CpuMicros() - begin;
  constexpr double kNanos = 1000.0 / kRanks;
  fmt::print(
      "  median of 100,000: {:.2f} ns a value, nth_element {:.2f}; medians of "
      "20: {:.1f} ns a rank, nth_element {:.1f} (checksum {:.0f})\n",
      fast * kNanos / kTimes, plain * kNanos / kTimes,
      network * kNanos / kTimes, one_by_one * kNanos,
      sum + windows.Medians()[0]);
}

}  // namespace

void Cost() {
  fmt::print(
      "\ncost of all detectors of speed and integrity, CPU time of one core, 7 "
      "to 9 "
      "columns\n");
  Measure(1000, 3000);
  Measure(10000, 1000);
  Measure(100000, 300);
  MeasureMedians();
}

}  // namespace steadyrun::bench
