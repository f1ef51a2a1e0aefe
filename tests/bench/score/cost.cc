// What a step costs: CPU time of all detectors of the training together.

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "fleet/sim/row_maker.h"
#include "server/detect/training_watch.h"
#include "server/engine/step_join.h"
#include "spdlog/fmt/fmt.h"
#include "tests/bench/score/sections.h"

namespace steadyrun::bench {
namespace {

double CpuSeconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         1e-9 * static_cast<double>(now.tv_nsec);
}

struct Cost {
  double median = 0;
  double most = 0;
};

Cost Measure(std::int32_t ranks, std::int64_t steps) {
  const fleet::FleetProfile profile = fleet::HealthyProfile();
  fleet::RowMaker maker(profile, ranks, 10);
  TrainingWatch watch{DetectOptions()};
  WatchedAttempt attempt;
  attempt.run = "cost";
  attempt.attempt = AttemptId{1};
  for (std::int32_t rank = 0; rank < ranks; ++rank) {
    attempt.rank_nodes.push_back(fmt::format("node-{:05}", rank / 8));
  }
  watch.Begin(attempt, Now{});
  StepRow row;
  std::vector<double> scratch;
  std::vector<double> seconds;
  for (std::int64_t step = 1; step <= steps; ++step) {
    maker.Make({attempt.attempt, Step{step}, step, 0, {}}, &row);
    row.run = attempt.run;
    Summarize(&row, &scratch);
    Verdicts verdicts;
    const Now now{MonoTime(std::chrono::seconds(10 * step)), {}};
    const double before = CpuSeconds();
    watch.ObserveRow(row, now, &verdicts);
    // The first steps learn and are cheaper or dearer than the rest.
    if (step > steps / 3) seconds.push_back(CpuSeconds() - before);
  }
  std::ranges::sort(seconds);
  return {seconds[seconds.size() / 2], seconds.back()};
}

}  // namespace

void PrintCost() {
  std::printf(
      "### Cost\n\nCPU time of all detectors of the training for one step, on "
      "one core.\n\n| ranks | median | longest | target |\n| --- | --- | --- | "
      "--- |\n");
  const struct {
    std::int32_t ranks;
    std::int64_t steps;
    const char* target;
  } kSizes[] = {{1000, 3000, "100 us"}, {100'000, 240, "10 ms"}};
  for (const auto& size : kSizes) {
    const Cost cost = Measure(size.ranks, size.steps);
    std::printf("| %d | %.3f ms | %.3f ms | %s |\n", size.ranks,
                1e3 * cost.median, 1e3 * cost.most, size.target);
  }
  std::printf("\n");
}

}  // namespace steadyrun::bench
