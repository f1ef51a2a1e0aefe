#include "server/storage/record_table.h"

#include "base/status_macros.h"
#include "server/storage/event_table.h"
#include "server/storage/state_codec.h"

namespace steadyrun {

absl::Status SaveDecision(const Decision& decision, Database& database) {
  return database.Run(
      "INSERT INTO decisions (run, attempt, incident, at_unix_ms, action,"
      " reason) VALUES (?, ?, ?, ?, ?, ?)",
      decision.run, decision.attempt.value, decision.incident,
      ToUnixMillis(decision.at), decision.action, decision.reason);
}

absl::StatusOr<std::vector<Decision>> LoadDecisions(Database& database,
                                                    const RunId& run,
                                                    std::int32_t limit) {
  std::vector<Decision> decisions;
  RETURN_IF_ERROR(database.Query(
      "SELECT run, attempt, incident, at_unix_ms, action, reason"
      " FROM decisions WHERE run = ? ORDER BY id DESC LIMIT ?",
      [&](const Row& row) {
        decisions.push_back({RunId(row.Text(0)), AttemptId{row.Int(1)},
                             row.Int(2), FromUnixMillis(row.Int(3)),
                             std::string(row.Text(4)),
                             std::string(row.Text(5))});
        return absl::OkStatus();
      },
      run, limit));
  return decisions;
}

absl::Status SaveRequest(const RequestDone& request, WallTime now,
                         Database& database) {
  return database.Run(
      "INSERT INTO requests (request_id, at_unix_ms, reply) VALUES (?, ?, ?)"
      " ON CONFLICT (request_id) DO NOTHING",
      request.request_id, ToUnixMillis(now), request.reply);
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> LoadRequests(
    Database& database, WallTime since) {
  std::vector<std::pair<std::string, std::string>> requests;
  RETURN_IF_ERROR(database.Query(
      "SELECT request_id, reply FROM requests WHERE at_unix_ms >= ?"
      " ORDER BY at_unix_ms, request_id",
      [&](const Row& row) {
        requests.emplace_back(row.Text(0), row.Text(1));
        return absl::OkStatus();
      },
      ToUnixMillis(since)));
  return requests;
}

// A rank of an attempt ends once. Its report may be applied twice, when the
// service died after committing the exit and before the report's cursor.
absl::Status SaveRankFailure(const RankFailed& failure, Database& database) {
  return database.Run(
      "INSERT INTO rank_failures (run, attempt, rank, node, at_unix_ms, exit)"
      " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      failure.exit.run, failure.exit.attempt.value, failure.exit.rank.value,
      failure.node, ToUnixMillis(failure.at), Blob{EncodeRankFailure(failure)});
}

absl::StatusOr<std::vector<RankFailed>> LoadRankFailures(Database& database,
                                                         const RunId& run,
                                                         std::int32_t limit) {
  std::vector<RankFailed> failures;
  RETURN_IF_ERROR(database.Query(
      "SELECT exit FROM rank_failures WHERE run = ? ORDER BY id DESC LIMIT ?",
      [&](const Row& row) -> absl::Status {
        ASSIGN_OR_RETURN(RankFailed failure, DecodeRankFailure(row.Bytes(0)));
        failures.push_back(std::move(failure));
        return absl::OkStatus();
      },
      run, limit));
  return failures;
}

absl::StatusOr<bool> PruneRecords(WallTime before, WallTime requests_before,
                                  std::int64_t limit, Database& database) {
  bool is_done = true;
  const auto count = [&] {
    is_done = is_done && database.ChangedRows() < limit;
  };
  // Ids grow with time, so the oldest are found without an index on the time.
  RETURN_IF_ERROR(
      database.Run("DELETE FROM decisions WHERE at_unix_ms < ?1 AND id IN"
                   " (SELECT id FROM decisions ORDER BY id LIMIT ?2)",
                   ToUnixMillis(before), limit));
  count();
  RETURN_IF_ERROR(
      database.Run("DELETE FROM rank_failures WHERE at_unix_ms < ?1 AND id IN"
                   " (SELECT id FROM rank_failures ORDER BY id LIMIT ?2)",
                   ToUnixMillis(before), limit));
  count();
  RETURN_IF_ERROR(database.Run(
      "DELETE FROM requests WHERE rowid IN (SELECT rowid FROM requests"
      " WHERE at_unix_ms < ?1 ORDER BY at_unix_ms LIMIT ?2)",
      ToUnixMillis(requests_before), limit));
  count();
  // What sinks were told of incidents that have ended long ago.
  RETURN_IF_ERROR(database.Run(
      "DELETE FROM notified WHERE (sink, run, incident) IN (SELECT sink, run,"
      " incident FROM notified WHERE at_unix_ms < ?1 ORDER BY at_unix_ms"
      " LIMIT ?2)",
      ToUnixMillis(before), limit));
  count();
  ASSIGN_OR_RETURN(const bool no_events, PruneEvents(before, limit, database));
  return is_done && no_events;
}

}  // namespace steadyrun
