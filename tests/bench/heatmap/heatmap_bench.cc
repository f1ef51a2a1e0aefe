// What a picture of all ranks costs and whether it is right: GetRankHeatmap of
// 100,000 ranks by 200 steps out of the real store, checked cell by cell
// against the values that were written, the ten slowest ranks too.
//
//   bench_heatmap [DIRECTORY]     the database is made, and removed, there
//
// Exits with 1 if a cell or a rank is wrong.

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "server/rpc/operator_api.h"
#include "server/storage/sqlite_store.h"
#include "server/storage/step_codec.h"
#include "server/web/responses.h"
#include "spdlog/spdlog.h"
#include "tests/fakes/service_fakes.h"

namespace steadyrun {
namespace {

constexpr std::int32_t kRanks = 100'000;
constexpr std::int64_t kSteps = 200;
constexpr std::int32_t kSlow = 10;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "bench_heatmap: %s\n",
               std::string(status.message()).c_str());
  std::exit(1);
}

double PeakMegabytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Ten ranks are slow, one less than the other; one rank has one bad step, and
// reports nothing in another.
bool IsSlow(std::int32_t rank) { return rank % 9973 == 5 && rank < 99'735; }
double Factor(std::int32_t rank, std::int64_t step) {
  if (rank == 77'777 && step == 123) return 1.45;
  if (IsSlow(rank)) return 1.2 + 0.02 * (rank / 9973);
  return 1;
}

// What data-parallel training reports: eight metrics, of which four differ
// between ranks.
StepRow MakeStep(std::int64_t step, std::mt19937& random) {
  StepRow row;
  row.run = "bench";
  row.attempt = AttemptId{1};
  row.step = Step{step};
  row.world_size = kRanks;
  for (std::uint32_t metric = 1; metric <= 8; ++metric) {
    row.metrics.push_back(metric);
  }
  row.values.resize(std::size_t{8} * kRanks);
  std::uniform_real_distribution<float> noise(0.98F, 1.02F);
  for (std::size_t metric = 0; metric < 8; ++metric) {
    const bool differs = metric < 2 || metric == 4 || metric == 7;
    for (std::int32_t rank = 0; rank < kRanks; ++rank) {
      row.values[metric * kRanks + static_cast<std::size_t>(rank)] =
          differs ? noise(random) : 1.0F;
    }
  }
  static_assert(static_cast<int>(Metric::kStepSeconds) == 1);
  for (std::int32_t rank = 0; rank < kRanks; ++rank) {
    float& seconds = row.values[static_cast<std::size_t>(rank)];
    seconds = static_cast<float>(seconds * Factor(rank, step));
  }
  if (step == 50) row.values[77'777] = AbsentValue();
  row.ended = FromUnixMillis(1'700'000'000'000 + step * 1000);
  Summarize(&row);
  return row;
}

// The written step times over their medians, rank by step.
using Ratios = std::vector<std::vector<float>>;

class Bench {
 public:
  explicit Bench(std::string directory) : directory_(std::move(directory)) {}

  int Run() {
    std::filesystem::remove_all(directory_);
    StoreOptions options;
    options.data_dir = directory_;
    options.start_maintenance = false;
    auto store = SqliteStore::Open(options, &clock_);
    Require(store.status());
    store_ = *std::move(store);
    Write();
    RunView run;
    run.state.spec.run = "bench";
    EngineView view;
    view.runs = {run};
    live_.Set(view);
    OperatorBackend backend;
    backend.live = &live_;
    backend.history = &store_->history();
    backend.clock = &clock_;
    const OperatorApi api(backend);
    std::printf("%-28s %8s %8s %9s %9s %8s\n", "100,000 ranks x 200 steps",
                "rows", "columns", "ms", "JSON KB", "peak MB");
    Ask(api, 300, 500);  // What the dashboard asks for.
    Ask(api, 1000, 1000);
    Ask(api, 100, 50);
    store_.reset();
    std::filesystem::remove_all(directory_);
    std::printf("wrong cells and ranks: %d\n", wrong_);
    return wrong_ == 0 ? 0 : 1;
  }

 private:
  void Write() {
    std::mt19937 random(1);
    ratios_.resize(kSteps);
    for (std::int64_t step = 0; step < kSteps; ++step) {
      StepRow row = MakeStep(step, random);
      std::vector<float>& ratios = ratios_[static_cast<std::size_t>(step)];
      ratios.assign(row.values.begin(), row.values.begin() + kRanks);
      for (float& ratio : ratios) {
        ratio = static_cast<float>(ratio / row.step_seconds);
      }
      std::vector<Change> changes;
      changes.emplace_back(std::move(row));
      Require(store_->Apply(changes, clock_.Both()));
    }
  }

  void Ask(const OperatorApi& api, std::int32_t rows, std::int32_t columns) {
    v1::GetRankHeatmapRequest request;
    request.set_run("bench");
    request.set_max_rows(rows);
    request.set_max_columns(columns);
    double best = 1e9;
    std::size_t bytes = 0;
    v1::RankHeatmap map;
    for (int i = 0; i < 3; ++i) {
      const MonoTime begin = clock_.MonoNow();
      map.Clear();
      Require(api.GetRankHeatmap(request, &map));
      bytes = JsonResponse(map).body.size();
      best = std::min(best, ToSeconds(clock_.MonoNow() - begin));
    }
    std::printf("%-28s %8d %8d %9.0f %9.1f %8.0f\n", "GetRankHeatmap, as JSON",
                map.rows(), map.columns(), 1000 * best,
                static_cast<double>(bytes) / 1024, PeakMegabytes());
    Check(map);
  }

  void Check(const v1::RankHeatmap& map) {
    wrong_ += map.world_size() != kRanks || map.steps() != kSteps ||
              !map.narrowed().empty();
    for (std::int32_t row = 0; row < map.rows(); ++row) {
      for (std::int32_t column = 0; column < map.columns(); ++column) {
        CheckCell(map, row, column);
      }
    }
    // Slowest first: 9973 * 9 + 5, 9973 * 8 + 5, ...
    wrong_ += map.slowest_size() != kSlow;
    for (int i = 0; i < map.slowest_size(); ++i) {
      const std::int32_t rank = 9973 * (kSlow - 1 - i) + 5;
      wrong_ += map.slowest(i).rank() != rank ||
                std::abs(map.slowest(i).mean_ratio() - Factor(rank, 0)) > 0.005;
    }
  }

  // One step of colour either way is the rounding of stored times.
  void CheckCell(const v1::RankHeatmap& map, std::int32_t row,
                 std::int32_t column) {
    float most = 0;
    const std::int32_t first_rank = row * map.ranks_per_row();
    const std::int64_t first_step = column * map.steps_per_column();
    for (std::int64_t step = first_step;
         step < std::min(kSteps, first_step + map.steps_per_column()); ++step) {
      const auto& ratios = ratios_[static_cast<std::size_t>(step)];
      for (std::int32_t rank = first_rank;
           rank < std::min(kRanks, first_rank + map.ranks_per_row()); ++rank) {
        const float ratio = ratios[static_cast<std::size_t>(rank)];
        if (!IsAbsent(ratio)) most = std::max(most, ratio);
      }
    }
    const double place = (most - map.low()) / (map.high() - map.low()) * 254;
    const double expected = most == 0 ? 0 : 1 + std::clamp(place, 0.0, 254.0);
    const std::string& cells = map.cells();
    const auto cell = static_cast<unsigned char>(
        cells[static_cast<std::size_t>(row * map.columns() + column)]);
    wrong_ += std::abs(cell - std::floor(expected)) > 1;
  }

  const std::string directory_;
  SystemClock clock_;
  std::unique_ptr<SqliteStore> store_;
  SettableLive live_;
  Ratios ratios_;
  int wrong_ = 0;
};

}  // namespace
}  // namespace steadyrun

int main(int argc, char** argv) {
  spdlog::set_level(spdlog::level::warn);
  const std::string directory =
      (argc > 1 ? std::string(argv[1]) : std::string("/tmp")) +
      "/steadyrun-heatmap-bench";
  return steadyrun::Bench(directory).Run();
}
