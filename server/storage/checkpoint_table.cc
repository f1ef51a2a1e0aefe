#include "server/storage/checkpoint_table.h"

#include "server/storage/state_codec.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

absl::Status ReadRow(const Row& row, std::vector<Checkpoint>* checkpoints) {
  absl::StatusOr<Checkpoint> checkpoint = DecodeCheckpoint(row.Bytes(3));
  if (!checkpoint.ok()) {
    return absl::Status(
        checkpoint.status().code(),
        fmt::format("checkpoint of run '{}', attempt {}, step {}: {}",
                    row.Text(0), row.Int(1), row.Int(2),
                    std::string(checkpoint.status().message())));
  }
  checkpoints->push_back(*std::move(checkpoint));
  return absl::OkStatus();
}

}  // namespace

absl::Status SaveCheckpoint(const Checkpoint& checkpoint, Database& database) {
  return database.Run(
      "INSERT INTO checkpoints (run, attempt, step, state, saved_unix_ms,"
      " size_bytes, checkpoint) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
      " ON CONFLICT (run, step, attempt) DO UPDATE SET state = ?4,"
      " saved_unix_ms = ?5, size_bytes = ?6, checkpoint = ?7",
      checkpoint.run, checkpoint.attempt.value, checkpoint.step.value,
      CheckpointStateName(checkpoint.state), ToUnixMillis(checkpoint.saved),
      checkpoint.SizeBytes(), Blob{EncodeCheckpoint(checkpoint)});
}

absl::StatusOr<std::vector<Checkpoint>> LoadCheckpoints(Database& database,
                                                        const RunId& run) {
  std::vector<Checkpoint> checkpoints;
  RETURN_IF_ERROR(database.Query(
      "SELECT run, attempt, step, checkpoint FROM checkpoints WHERE run = ?"
      " ORDER BY step, attempt",
      [&](const Row& row) { return ReadRow(row, &checkpoints); }, run));
  return checkpoints;
}

absl::StatusOr<std::vector<Checkpoint>> LoadLiveCheckpoints(
    Database& database) {
  std::vector<Checkpoint> checkpoints;
  RETURN_IF_ERROR(database.Query(
      "SELECT c.run, c.attempt, c.step, c.checkpoint"
      " FROM checkpoints c JOIN runs r ON r.run = c.run"
      " WHERE r.phase NOT IN ('completed', 'stopped')"
      " ORDER BY c.run, c.step, c.attempt",
      [&](const Row& row) { return ReadRow(row, &checkpoints); }));
  return checkpoints;
}

}  // namespace steadyrun
