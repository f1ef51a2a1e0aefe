// What the store costs: reports a second into SQLite with full syncs, bytes a
// report, and the questions people ask, beside the obvious other layout (a row
// for each rank and step) in the same run. A report is 8 metrics of one rank
// at one step.
//
//   storage_bench [DIRECTORY]     the database is made, and removed, there

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "server/storage/sqlite_store.h"
#include "server/storage/step_codec.h"
#include "spdlog/spdlog.h"

namespace steadyrun {
namespace {

constexpr int kMetrics = 8;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "storage_bench: %s\n",
               std::string(status.message()).c_str());
  std::exit(1);
}

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) +
           static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// As data-parallel training reports: times differ between ranks, the gradient
// norm, learning rate, loss scale and tokens do not.
StepRow MakeStep(std::int64_t step, std::int32_t ranks, std::mt19937& random) {
  StepRow row;
  row.run = "bench";
  row.attempt = AttemptId{1};
  row.step = Step{step};
  row.world_size = ranks;
  for (std::uint32_t metric = 1; metric <= kMetrics; ++metric) {
    row.metrics.push_back(metric);
  }
  const auto world = static_cast<std::size_t>(ranks);
  row.values.resize(kMetrics * world);
  std::uniform_real_distribution<float> noise(0.98F, 1.02F);
  const auto fill = [&](Metric metric, float value, bool differs) {
    const std::size_t begin = (static_cast<std::size_t>(metric) - 1) * world;
    for (std::size_t rank = 0; rank < world; ++rank) {
      row.values[begin + rank] = differs ? value * noise(random) : value;
    }
  };
  fill(Metric::kStepSeconds, 1.0F, true);
  fill(Metric::kLoss, 2.5F, true);
  fill(Metric::kGradNorm, 1.1F, false);
  fill(Metric::kTokens, 8192.0F, false);
  fill(Metric::kComputeSeconds, 0.8F, true);
  fill(Metric::kLearningRate, 3e-4F, false);
  fill(Metric::kLossScale, 65536.0F, false);
  fill(Metric::kDataSeconds, 0.01F, true);
  row.ended = FromUnixMillis(1'700'000'000'000 + step * 1000);
  Summarize(&row);
  return row;
}

std::int64_t FileBytes(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(
      q * static_cast<double>(values.size() - 1))];
}

double MillisecondsOf(const Clock& clock, const std::function<void()>& work) {
  const MonoTime begin = clock.MonoNow();
  work();
  return 1000 * ToSeconds(clock.MonoNow() - begin);
}

class Bench {
 public:
  explicit Bench(std::string directory) : directory_(std::move(directory)) {}

  void Run() {
    std::printf("%-34s %10s %10s %9s %9s %9s\n", "write, FULL syncs",
                "reports/s", "/core-s", "B/report", "p50 ms", "p99 ms");
    for (const std::int32_t ranks : {8, 128, 1000, 8000}) {
      WriteSteps(ranks, /*steps_per_commit=*/1);
    }
    WriteSteps(8, /*steps_per_commit=*/64);
    WriteRowsPerRank(1000);
    AskAboutLongRun();
  }

 private:
  std::unique_ptr<SqliteStore> Open(bool start_maintenance) {
    StoreOptions options;
    options.data_dir = directory_;
    options.start_maintenance = start_maintenance;
    auto store = SqliteStore::Open(options, &clock_);
    Require(store.status());
    return *std::move(store);
  }
  void Clear() { std::filesystem::remove_all(directory_); }

  void WriteSteps(std::int32_t ranks, int steps_per_commit) {
    Clear();
    auto store = Open(/*start_maintenance=*/true);
    std::mt19937 random(1);
    const int commits =
        std::clamp(2'000'000 / (ranks * steps_per_commit), 200, 4000);
    std::vector<double> took;
    double cpu = 0;
    for (int i = 0; i < commits; ++i) {
      std::vector<Change> changes;
      for (int s = 0; s < steps_per_commit; ++s) {
        changes.push_back(MakeStep(i * steps_per_commit + s, ranks, random));
      }
      for (int node = 0; node < std::max(1, ranks / 8); ++node) {
        changes.push_back(NodeCursor{"node-" + std::to_string(node),
                                     "boot",
                                     {static_cast<std::uint64_t>(i) + 1}});
      }
      const double cpu_before = CpuSeconds();
      took.push_back(MillisecondsOf(
          clock_, [&] { Require(store->Apply(changes, clock_.Both())); }));
      cpu += CpuSeconds() - cpu_before;
    }
    store.reset();
    double wall = 0;
    for (const double ms : took) wall += ms / 1000;
    const double reports =
        static_cast<double>(commits) * ranks * steps_per_commit;
    char name[64];
    std::snprintf(name, sizeof(name), "a row a step, %d ranks, %d a commit",
                  ranks, steps_per_commit);
    Print(name, reports, wall, cpu, took);
  }

  // The layout that comes to mind first, on the same settings.
  void WriteRowsPerRank(std::int32_t ranks) {
    Clear();
    std::filesystem::create_directories(directory_);
    auto database = Database::Open(directory_ + "/steadyrun.db",
                                   Database::Mode::kReadWrite);
    Require(database.status());
    Require((*database)->RunScript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE samples (step INTEGER, rank INTEGER, a REAL, b REAL,"
        " c REAL, d REAL, e REAL, f REAL, g REAL, h REAL,"
        " PRIMARY KEY (step, rank)) WITHOUT ROWID"));
    std::mt19937 random(1);
    std::vector<double> took;
    double cpu = 0;
    constexpr int kSteps = 300;
    for (int step = 0; step < kSteps; ++step) {
      const StepRow row = MakeStep(step, ranks, random);
      const double cpu_before = CpuSeconds();
      took.push_back(
          MillisecondsOf(clock_, [&] { InsertRows(row, **database); }));
      cpu += CpuSeconds() - cpu_before;
    }
    database->reset();
    double wall = 0;
    for (const double ms : took) wall += ms / 1000;
    Print("a row a rank and step, 1000 ranks",
          static_cast<double>(kSteps) * ranks, wall, cpu, took);
  }

  void InsertRows(const StepRow& row, Database& database) {
    auto transaction = Transaction::Begin(database);
    Require(transaction.status());
    const auto world = static_cast<std::size_t>(row.world_size);
    for (std::size_t rank = 0; rank < world; ++rank) {
      const auto value = [&](std::size_t metric) {
        return static_cast<double>(row.values[metric * world + rank]);
      };
      Require(database.Run(
          "INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
          row.step.value, rank, value(0), value(1), value(2), value(3),
          value(4), value(5), value(6), value(7)));
    }
    Require(transaction->Commit());
  }

  void Print(const char* name, double reports, double wall, double cpu,
             const std::vector<double>& took) {
    const std::int64_t bytes = FileBytes(directory_ + "/steadyrun.db") +
                               FileBytes(directory_ + "/steadyrun.db-wal");
    std::printf("%-34s %9.2fM %9.2fM %9.1f %9.2f %9.2f\n", name,
                reports / wall / 1e6, reports / cpu / 1e6,
                static_cast<double>(bytes) / reports, Quantile(took, 0.5),
                Quantile(took, 0.99));
  }

  void AskAboutLongRun() {
    constexpr std::int64_t kSteps = 1'000'000;
    Clear();
    auto store = Open(/*start_maintenance=*/false);
    std::mt19937 random(1);
    StepRow row = MakeStep(0, 8, random);
    for (std::int64_t step = 0; step < kSteps;) {
      std::vector<Change> changes;
      for (int i = 0; i < 2000; ++i, ++step) {
        row.step = Step{step};
        row.loss = 3 - 2e-6 * static_cast<double>(step);
        changes.push_back(row);
      }
      Require(store->Apply(changes, clock_.Both()));
    }
    const double rolling = MillisecondsOf(clock_, [&] {
      for (int i = 0; i < 40; ++i) Require(store->RunMaintenanceRound());
    });
    std::printf("\n%-46s %10s\n", "a run of 1,000,000 steps", "ms");
    std::printf("%-46s %10.1f\n", "all roll-ups and retention of it, once",
                rolling);
    History& history = store->history();
    const auto ask = [&](const char* name, const std::function<void()>& query) {
      query();  // Opens the reader.
      std::vector<double> took;
      for (int i = 0; i < 9; ++i) took.push_back(MillisecondsOf(clock_, query));
      std::printf("%-46s %10.3f\n", name, Quantile(took, 0.5));
    };
    const auto curve = [&](std::int64_t from, std::int64_t to, int buckets) {
      StepQuery query;
      query.run = "bench";
      query.from = Step{from};
      query.to = Step{to};
      query.max_buckets = buckets;
      const auto answer = history.Steps(query);
      Require(answer.status());
      if (answer->empty()) std::exit(1);
    };
    ask("curve of all of it, 2,000 buckets", [&] { curve(0, kSteps, 2000); });
    ask("curve of 100,000 steps, 2,000 buckets",
        [&] { curve(400'000, 500'000, 2000); });
    ask("the last 2,000 steps", [&] { curve(kSteps - 2000, kSteps, 2000); });
    ask("all ranks of one step", [&] {
      Require(history.FindStep("bench", Step{kSteps - 10}).status());
    });
    store.reset();
    std::printf("%-46s %10.1f\n", "start with it", MillisecondsOf(clock_, [&] {
                  store = Open(true);
                  Require(store->Load(clock_.Both()).status());
                }));
    std::printf("%-46s %9.0fM\n", "its bytes on disk",
                static_cast<double>(store->history().DiskBytes()) / 1e6);
    store.reset();
    Clear();
  }

  const std::string directory_;
  SystemClock clock_;
};

}  // namespace
}  // namespace steadyrun

int main(int argc, char** argv) {
  spdlog::set_level(spdlog::level::warn);
  const std::string directory =
      (argc > 1 ? std::string(argv[1]) : std::string("/tmp")) +
      "/steadyrun-storage-bench";
  steadyrun::Bench(directory).Run();
}
