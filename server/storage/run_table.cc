#include "server/storage/run_table.h"

#include "server/storage/state_codec.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

absl::StatusOr<RunState> ReadRow(const Row& row, MonoTime now) {
  absl::StatusOr<RunState> state = DecodeRunState(row.Bytes(1), now);
  if (state.ok()) return state;
  return absl::Status(state.status().code(),
                      fmt::format("run '{}': {}", row.Text(0),
                                  std::string(state.status().message())));
}

}  // namespace

absl::Status SaveRun(const RunState& state, MonoTime now, Database& database) {
  return database.Run(
      "INSERT INTO runs (run, phase, attempt, first_attempt, max_step,"
      " created_unix_ms, ended_unix_ms, state)"
      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
      " ON CONFLICT (run) DO UPDATE SET phase = ?2, attempt = ?3,"
      " first_attempt = ?4, max_step = ?5, created_unix_ms = ?6,"
      " ended_unix_ms = ?7, state = ?8",
      state.spec.run, RunPhaseName(state.phase), state.attempt.value,
      state.first_attempt.value, state.max_step.value,
      ToUnixMillis(state.created), ToUnixMillis(state.ended),
      Blob{EncodeRunState(state, now)});
}

absl::StatusOr<std::vector<RunState>> LoadRuns(Database& database, MonoTime now,
                                               std::int64_t limit) {
  std::vector<RunState> runs;
  RETURN_IF_ERROR(database.Query(
      "SELECT run, state FROM runs ORDER BY created_unix_ms DESC, run LIMIT ?",
      [&](const Row& row) -> absl::Status {
        ASSIGN_OR_RETURN(RunState state, ReadRow(row, now));
        runs.push_back(std::move(state));
        return absl::OkStatus();
      },
      limit));
  return runs;
}

absl::StatusOr<RunState> LoadRun(Database& database, const RunId& run,
                                 MonoTime now) {
  absl::StatusOr<RunState> found =
      absl::NotFoundError(fmt::format("no run is called '{}'", run));
  RETURN_IF_ERROR(database.Query(
      "SELECT run, state FROM runs WHERE run = ?",
      [&](const Row& row) {
        found = ReadRow(row, now);
        return found.status();
      },
      run));
  return found;
}

}  // namespace steadyrun
