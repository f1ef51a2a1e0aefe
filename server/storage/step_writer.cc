#include "server/storage/step_writer.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.h"
#include "server/storage/step_codec.h"
#include "server/storage/step_key.h"
#include "server/storage/step_reader.h"

namespace steadyrun {
namespace {

// Attempts whose numbers are kept at hand; more live at once are read again.
constexpr std::size_t kMaxCachedAttempts = 4096;

struct Marks {
  std::int64_t rolled_16 = 0;
  std::int64_t rows_from = 0;
};

absl::StatusOr<Marks> ReadMarks(std::int64_t attempt_id, Database& database) {
  Marks marks;
  RETURN_IF_ERROR(database.Query(
      "SELECT rolled_16, rows_from FROM attempts WHERE id = ?",
      [&](const Row& row) {
        marks = {row.Int(0), row.Int(1)};
        return absl::OkStatus();
      },
      attempt_id));
  return marks;
}

absl::StatusOr<bool> HasSummary(std::int64_t key, Database& database) {
  bool found = false;
  RETURN_IF_ERROR(database.Query(
      "SELECT 1 FROM step_summaries WHERE key = ?",
      [&](const Row&) {
        found = true;
        return absl::OkStatus();
      },
      key));
  return found;
}

bool AllRanksReported(const StepRow& row) {
  const auto world = static_cast<std::size_t>(row.world_size);
  for (std::size_t rank = 0; rank < world; ++rank) {
    bool reported = false;
    for (std::size_t at = rank; at < row.values.size(); at += world) {
      reported = reported || !IsAbsent(row.values[at]);
    }
    if (!reported) return false;
  }
  return true;
}

}  // namespace

absl::Status StepWriter::Save(const StepRow& row, Database& database) {
  const auto expected = row.metrics.size() *
                        static_cast<std::size_t>(std::max(row.world_size, 0));
  // Adapters check what comes from outside; a malformed row is our own bug,
  // and must not stop every later commit.
  if (SR_BUG_IF(row.step.value < 0 || row.step.value > kMaxStoredStep ||
                row.values.size() != expected)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Attempt * attempt, FindAttempt(row, database));
  if (row.step.value <= attempt->newest_step) {
    return SaveOutOfOrder(row, attempt->id, database);
  }
  const std::int64_t key = StepKey(attempt->id, row.step.value);
  RETURN_IF_ERROR(SaveSummary(row, key, database));
  RETURN_IF_ERROR(SaveRanks(row, key, database));
  attempt->newest_step = row.step.value;
  return absl::OkStatus();
}

void StepWriter::Forget() {
  attempts_.clear();
  names_.Forget();
}

absl::StatusOr<StepWriter::Attempt*> StepWriter::FindAttempt(
    const StepRow& row, Database& database) {
  const auto key = std::make_pair(row.run, row.attempt);
  if (const auto found = attempts_.find(key); found != attempts_.end()) {
    return &found->second;
  }
  if (attempts_.size() >= kMaxCachedAttempts) attempts_.clear();
  ASSIGN_OR_RETURN(const Attempt attempt, LoadAttempt(row, database));
  return &attempts_.emplace(key, attempt).first->second;
}

absl::StatusOr<StepWriter::Attempt> StepWriter::LoadAttempt(
    const StepRow& row, Database& database) {
  RETURN_IF_ERROR(
      database.Run("INSERT INTO attempts (run, attempt) VALUES (?, ?)"
                   " ON CONFLICT (run, attempt) DO NOTHING",
                   row.run, row.attempt.value));
  Attempt attempt;
  RETURN_IF_ERROR(database.Query(
      "SELECT id FROM attempts WHERE run = ? AND attempt = ?",
      [&](const Row& found) {
        attempt.id = found.Int(0);
        return absl::OkStatus();
      },
      row.run, row.attempt.value));
  RETURN_IF_ERROR(database.Query(
      "SELECT max(key) FROM step_summaries WHERE key BETWEEN ? AND ?",
      [&](const Row& found) {
        if (!found.IsNull(0)) attempt.newest_step = StepOfKey(found.Int(0));
        return absl::OkStatus();
      },
      StepKey(attempt.id, 0), StepKey(attempt.id, kMaxStoredStep)));
  return attempt;
}

absl::Status StepWriter::SaveOutOfOrder(const StepRow& row,
                                        std::int64_t attempt_id,
                                        Database& database) {
  const std::int64_t key = StepKey(attempt_id, row.step.value);
  ASSIGN_OR_RETURN(const Marks marks, ReadMarks(attempt_id, database));
  ASSIGN_OR_RETURN(std::optional<StepRow> merged,
                   ReadStepRow(key, &names_, database));
  if (merged) {
    if (!MergeLateRanks(row, &*merged)) return absl::OkStatus();
    Summarize(&*merged);
    merged->ended = row.ended;
    merged->is_complete = AllRanksReported(*merged);
  } else if (row.step.value < marks.rows_from) {
    // Retention has dropped the ranks; a summary of all but the late ones is
    // worth more than one of the late ones alone.
    ASSIGN_OR_RETURN(const bool has_summary, HasSummary(key, database));
    if (has_summary) return absl::OkStatus();
  }
  const StepRow& result = merged ? *merged : row;
  RETURN_IF_ERROR(SaveSummary(result, key, database));
  if (row.step.value >= marks.rows_from) {
    RETURN_IF_ERROR(SaveRanks(result, key, database));
  }
  if (row.step.value >= marks.rolled_16) return absl::OkStatus();
  return database.Run("INSERT OR IGNORE INTO stale_buckets (key) VALUES (?)",
                      StepKey(attempt_id, row.step.value / 16));
}

absl::Status StepWriter::SaveSummary(const StepRow& row, std::int64_t key,
                                     Database& database) {
  return database.Run(
      "INSERT OR REPLACE INTO step_summaries (key, ended_unix_ms, is_complete,"
      " loss, grad_norm, step_seconds, step_seconds_max, tokens, slowest_rank)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      key, ToUnixMillis(row.ended), row.is_complete, row.loss, row.grad_norm,
      row.step_seconds, row.step_seconds_max, row.tokens, row.slowest_rank);
}

absl::Status StepWriter::SaveRanks(const StepRow& row, std::int64_t key,
                                   Database& database) {
  columns_.clear();
  for (const std::uint32_t metric : row.metrics) {
    if (metric < kFirstNamedMetric) {
      columns_.push_back(metric);
      continue;
    }
    const std::size_t index = metric - kFirstNamedMetric;
    const std::string_view name =
        index < row.names.size() ? std::string_view(row.names[index]) : "";
    const absl::StatusOr<std::uint32_t> id = names_.Intern(name, database);
    if (!id.ok() && !absl::IsNotFound(id.status())) return id.status();
    // Beyond the bound on names: column 0, which no reader asks for.
    columns_.push_back(id.ok() ? (kNamedColumn | *id) : 0);
  }
  EncodeStep(row, columns_, &buffer_);
  return database.Run(
      "INSERT OR REPLACE INTO step_rows (key, ranks) VALUES (?, ?)", key,
      Blob{buffer_});
}

}  // namespace steadyrun
