#include "tests/integration/storage/fixture.h"

#include <stdlib.h>

#include <filesystem>

#include "server/storage/step_codec.h"

namespace steadyrun {

ScratchDirectory::ScratchDirectory() {
  std::string name = testing::TempDir() + "/steadyrun-storage-XXXXXX";
  path_ = ::mkdtemp(name.data());
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

StoreTest::StoreTest() {
  options_.data_dir = directory_.path();
  options_.start_maintenance = false;
}

absl::Status StoreTest::TryOpen() {
  store_.reset();
  absl::StatusOr<std::unique_ptr<SqliteStore>> store =
      SqliteStore::Open(options_, &clock_);
  if (!store.ok()) return store.status();
  store_ = *std::move(store);
  return absl::OkStatus();
}

void StoreTest::Open() {
  const absl::Status status = TryOpen();
  ASSERT_TRUE(status.ok()) << status;
}

void StoreTest::Apply(std::vector<Change> changes) {
  const absl::Status status = store_->Apply(changes, clock_.Both());
  ASSERT_TRUE(status.ok()) << status;
}

Snapshot StoreTest::LoadAll() {
  absl::StatusOr<Snapshot> snapshot = store_->Load(clock_.Both());
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return snapshot.ok() ? *std::move(snapshot) : Snapshot{};
}

void StoreTest::RunMaintenance() {
  // A round does at most a bounded number of pieces.
  for (int round = 0; round < 100; ++round) {
    const absl::Status status = store_->RunMaintenanceRound();
    ASSERT_TRUE(status.ok()) << status;
  }
}

RunState MakeRun(const RunId& run) {
  RunState state;
  state.spec.run = run;
  state.spec.argv = {"python3", "train.py"};
  state.phase = RunPhase::kRunning;
  state.attempt = AttemptId{1};
  state.attempts = 1;
  return state;
}

StepRow MakeStep(const RunId& run, std::int64_t attempt, std::int64_t step,
                 std::int32_t ranks) {
  StepRow row;
  row.run = run;
  row.attempt = AttemptId{attempt};
  row.step = Step{step};
  row.world_size = ranks;
  row.metrics = {static_cast<std::uint32_t>(Metric::kStepSeconds),
                 static_cast<std::uint32_t>(Metric::kLoss),
                 static_cast<std::uint32_t>(Metric::kGradNorm),
                 static_cast<std::uint32_t>(Metric::kTokens)};
  const auto world = static_cast<std::size_t>(ranks);
  row.values.resize(row.metrics.size() * world);
  for (std::size_t rank = 0; rank < world; ++rank) {
    const auto noise = static_cast<float>((rank * 37 + step * 11) % 101) / 1e4F;
    row.values[rank] = 0.1F + noise;
    row.values[world + rank] = 3.0F - static_cast<float>(step) / 1e6F + noise;
    row.values[2 * world + rank] = 1.5F;
    row.values[3 * world + rank] = 2048.0F;
  }
  row.ended = FromUnixMillis(1'700'000'000'000 + step * 100);
  Summarize(&row);
  return row;
}

}  // namespace steadyrun
