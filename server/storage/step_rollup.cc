#include "server/storage/step_rollup.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "server/storage/step_bucket.h"
#include "server/storage/step_key.h"

namespace steadyrun {
namespace {

// A row that comes this many steps late needs no second roll-up.
constexpr std::int64_t kSlackSteps = 64;
// Per transaction, so that a commit of the engine waits for a few ms at most.
constexpr std::int64_t kBuckets16PerPiece = 64;   // Reads 1,024 summaries.
constexpr std::int64_t kBuckets256PerPiece = 64;  // Reads 1,024 rows.
constexpr std::int64_t kStalePerPiece = 32;
constexpr std::int64_t kRowsPerPiece = 256;
constexpr std::int64_t kRowBytesPerPiece = 4 << 20;
// The rest waits for the next round, so that the log is copied back meanwhile.
constexpr int kPiecesPerRound = 256;

// Sums up the rows of level `from_level` in [from, to) and stores a row of
// level `to_level` for each of its buckets that has any.
absl::Status RollRange(std::int64_t from_level, std::int64_t to_level,
                       std::int64_t attempt_id, std::int64_t from,
                       std::int64_t to, Database& database) {
  ASSIGN_OR_RETURN(const std::vector<StepBucket> parts,
                   ReadBuckets(from_level, attempt_id, from, to - 1, database));
  std::map<std::int64_t, StepBucket> buckets;
  for (const StepBucket& part : parts) {
    AddBucket(part, &buckets[part.first.value / to_level]);
  }
  for (auto& [index, bucket] : buckets) {
    bucket.first = Step{index * to_level};
    RETURN_IF_ERROR(SaveBucket(to_level, attempt_id, bucket, database));
  }
  return absl::OkStatus();
}

// The first step, a multiple of `level` rounded down, that has a row of the
// source table at or after `from`; `limit` if there is none. Skips holes: an
// attempt that resumed at step 500,000 has nothing before.
absl::StatusOr<std::int64_t> NextStep(std::string_view sql,
                                      std::int64_t source_level,
                                      std::int64_t level,
                                      std::int64_t attempt_id,
                                      std::int64_t from, std::int64_t limit,
                                      Database& database) {
  std::int64_t next = limit;
  RETURN_IF_ERROR(database.Query(
      sql,
      [&](const Row& row) {
        if (row.IsNull(0)) return absl::OkStatus();
        const std::int64_t step = StepOfKey(row.Int(0)) * source_level;
        next = std::clamp(step / level * level, from, limit);
        return absl::OkStatus();
      },
      StepKey(attempt_id, from / source_level),
      StepKey(attempt_id, limit / source_level)));
  return next;
}

// Sums up again what holds the 16-step bucket `key`, and takes it off the list.
absl::Status RollAgain(std::int64_t key, Database& database) {
  const std::int64_t attempt = key >> kStepBits;
  const std::int64_t first = StepOfKey(key) * 16;
  RETURN_IF_ERROR(RollRange(1, 16, attempt, first, first + 16, database));
  std::int64_t rolled_256 = 0;
  RETURN_IF_ERROR(database.Query(
      "SELECT rolled_256 FROM attempts WHERE id = ?",
      [&](const Row& row) {
        rolled_256 = row.Int(0);
        return absl::OkStatus();
      },
      attempt));
  const std::int64_t wide = first / 256 * 256;
  if (wide < rolled_256) {
    RETURN_IF_ERROR(RollRange(16, 256, attempt, wide, wide + 256, database));
  }
  return database.Run("DELETE FROM stale_buckets WHERE key = ?", key);
}

}  // namespace

absl::Status StepRollup::RunRound(absl::FunctionRef<bool()> should_stop) {
  int pieces = 0;
  const auto may_go_on = [&] {
    return ++pieces <= kPiecesPerRound && !should_stop();
  };
  for (bool is_busy = true; is_busy && may_go_on();) {
    ASSIGN_OR_RETURN(is_busy, RollStale());
  }
  ASSIGN_OR_RETURN(std::vector<Attempt> attempts, ReadAttempts());
  for (Attempt& attempt : attempts) {
    for (bool is_busy = true; is_busy;) {
      if (!may_go_on()) return absl::OkStatus();
      ASSIGN_OR_RETURN(is_busy, Advance(&attempt));
      if (!is_busy) --pieces;
    }
  }
  has_seen_all_ = true;
  return absl::OkStatus();
}

absl::StatusOr<bool> StepRollup::Advance(Attempt* attempt) {
  ASSIGN_OR_RETURN(bool is_busy, Roll16(attempt));
  if (is_busy) return true;
  ASSIGN_OR_RETURN(is_busy, Roll256(attempt));
  if (is_busy) return true;
  return DropRanks(attempt);
}

absl::Status StepRollup::Write(absl::FunctionRef<absl::Status()> write) {
  absl::MutexLock lock(&gate_.mutex());
  const auto in_transaction = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(database_));
    RETURN_IF_ERROR(write());
    return transaction.Commit();
  };
  return gate_.Note(in_transaction());
}

absl::StatusOr<std::vector<StepRollup::Attempt>> StepRollup::ReadAttempts() {
  std::vector<Attempt> attempts;
  std::vector<std::string> runs;
  // Ended runs are looked at once, after the start.
  RETURN_IF_ERROR(database_.Query(
      "SELECT a.id, a.run, a.rolled_16, a.rolled_256, a.rows_from,"
      " a.attempt >= coalesce(r.first_attempt, 0)"
      " FROM attempts a LEFT JOIN runs r ON r.run = a.run"
      " WHERE ?1 OR r.phase IS NULL OR r.phase NOT IN ('completed', 'stopped')"
      " ORDER BY a.id",
      [&](const Row& row) {
        attempts.push_back(
            {row.Int(0), -1, -1, row.Int(2), row.Int(3), row.Int(4)});
        // Steps of an earlier run of this name are no measure for this one.
        runs.push_back((row.Int(5) != 0 ? "+" : "-") +
                       std::string(row.Text(1)));
        return absl::OkStatus();
      },
      !has_seen_all_));
  std::map<std::string, std::int64_t> newest;
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    RETURN_IF_ERROR(database_.Query(
        "SELECT max(key) FROM step_summaries WHERE key BETWEEN ? AND ?",
        [&](const Row& row) {
          if (!row.IsNull(0)) attempts[i].newest = StepOfKey(row.Int(0));
          return absl::OkStatus();
        },
        StepKey(attempts[i].id, 0), StepKey(attempts[i].id, kMaxStoredStep)));
    std::int64_t& of_run = newest.try_emplace(runs[i], -1).first->second;
    of_run = std::max(of_run, attempts[i].newest);
  }
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    attempts[i].newest_of_run = newest[runs[i]];
  }
  return attempts;
}

absl::StatusOr<bool> StepRollup::RollStale() {
  std::vector<std::int64_t> keys;
  RETURN_IF_ERROR(database_.Query(
      "SELECT key FROM stale_buckets ORDER BY key LIMIT ?",
      [&](const Row& row) {
        keys.push_back(row.Int(0));
        return absl::OkStatus();
      },
      kStalePerPiece));
  if (keys.empty()) return false;
  const absl::Status written = Write([&]() -> absl::Status {
    for (const std::int64_t key : keys) {
      RETURN_IF_ERROR(RollAgain(key, database_));
    }
    return absl::OkStatus();
  });
  if (!written.ok()) return written;
  return true;
}

absl::StatusOr<bool> StepRollup::Roll16(Attempt* attempt) {
  const std::int64_t due =
      std::max<std::int64_t>(0, attempt->newest + 1 - kSlackSteps) / 16 * 16;
  if (due <= attempt->rolled_16) return false;
  ASSIGN_OR_RETURN(
      const std::int64_t from,
      NextStep("SELECT min(key) FROM step_summaries WHERE key BETWEEN ? AND ?",
               1, 16, attempt->id, attempt->rolled_16, due, database_));
  const std::int64_t to = std::min(due, from + 16 * kBuckets16PerPiece);
  const absl::Status written = Write([&]() -> absl::Status {
    RETURN_IF_ERROR(RollRange(1, 16, attempt->id, from, to, database_));
    return database_.Run("UPDATE attempts SET rolled_16 = ? WHERE id = ?", to,
                         attempt->id);
  });
  if (!written.ok()) return written;
  attempt->rolled_16 = to;
  return true;
}

absl::StatusOr<bool> StepRollup::Roll256(Attempt* attempt) {
  const std::int64_t due = attempt->rolled_16 / 256 * 256;
  if (due <= attempt->rolled_256) return false;
  ASSIGN_OR_RETURN(
      const std::int64_t from,
      NextStep("SELECT min(key) FROM step_buckets_16 WHERE key BETWEEN ? AND ?",
               16, 256, attempt->id, attempt->rolled_256, due, database_));
  const std::int64_t to = std::min(due, from + 256 * kBuckets256PerPiece);
  const absl::Status written = Write([&]() -> absl::Status {
    RETURN_IF_ERROR(RollRange(16, 256, attempt->id, from, to, database_));
    return database_.Run("UPDATE attempts SET rolled_256 = ? WHERE id = ?", to,
                         attempt->id);
  });
  if (!written.ok()) return written;
  attempt->rolled_256 = to;
  return true;
}

absl::StatusOr<bool> StepRollup::DropRanks(Attempt* attempt) {
  const std::int64_t keep_from =
      std::min(attempt->newest_of_run + 1 - options_.keep_step_rows,
               attempt->newest + 1);
  if (keep_from < attempt->rows_from + kRowsPerPiece / 2) return false;
  // A piece at a time, so up to kRowsPerPiece / 2 rows more than asked for are
  // kept. `to`: the first row past the limits of a piece, or all that are due.
  std::int64_t to = keep_from;
  std::int64_t rows = 0;
  std::int64_t bytes = 0;
  RETURN_IF_ERROR(database_.Query(
      "SELECT key, length(ranks) FROM step_rows WHERE key >= ? AND key < ?"
      " ORDER BY key LIMIT ?",
      [&](const Row& row) {
        if (rows == kRowsPerPiece || bytes > kRowBytesPerPiece) {
          to = std::min(to, StepOfKey(row.Int(0)));
          return absl::OkStatus();
        }
        ++rows;
        bytes += row.Int(1);
        return absl::OkStatus();
      },
      StepKey(attempt->id, attempt->rows_from), StepKey(attempt->id, keep_from),
      kRowsPerPiece + 1));
  const absl::Status written = Write([&]() -> absl::Status {
    RETURN_IF_ERROR(database_.Run(
        "DELETE FROM step_rows WHERE key >= ? AND key < ?",
        StepKey(attempt->id, attempt->rows_from), StepKey(attempt->id, to)));
    return database_.Run("UPDATE attempts SET rows_from = ? WHERE id = ?", to,
                         attempt->id);
  });
  if (!written.ok()) return written;
  attempt->rows_from = to;
  return true;
}

}  // namespace steadyrun
