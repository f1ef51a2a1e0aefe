#include "server/storage/step_reader.h"

#include <algorithm>
#include <map>

#include "server/storage/step_codec.h"
#include "server/storage/step_key.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

struct AttemptSteps {
  std::int64_t id = 0;
  AttemptId attempt;
  std::int64_t first = -1;  // -1: none stored.
  std::int64_t last = -1;
};

absl::Status ReadEnds(AttemptSteps* steps, Database& database) {
  const auto end_of = [&](std::string_view sql,
                          std::int64_t* step) -> absl::Status {
    return database.Query(
        sql,
        [&](const Row& row) {
          if (!row.IsNull(0)) *step = StepOfKey(row.Int(0));
          return absl::OkStatus();
        },
        StepKey(steps->id, 0), StepKey(steps->id, kMaxStoredStep));
  };
  RETURN_IF_ERROR(
      end_of("SELECT min(key) FROM step_summaries WHERE key BETWEEN ? AND ?",
             &steps->first));
  return end_of("SELECT max(key) FROM step_summaries WHERE key BETWEEN ? AND ?",
                &steps->last);
}

// Newest attempt first; without those that have no steps, or are of an earlier
// run of this name.
absl::StatusOr<std::vector<AttemptSteps>> ReadAttempts(const RunId& run,
                                                       Database& database) {
  std::vector<AttemptSteps> all;
  RETURN_IF_ERROR(database.Query(
      "SELECT id, attempt FROM attempts WHERE run = ?1 AND attempt >="
      " coalesce((SELECT first_attempt FROM runs WHERE run = ?1), 0)"
      " ORDER BY attempt DESC",
      [&](const Row& row) {
        all.push_back({row.Int(0), AttemptId{row.Int(1)}, -1, -1});
        return absl::OkStatus();
      },
      run));
  std::vector<AttemptSteps> with_steps;
  for (AttemptSteps& steps : all) {
    RETURN_IF_ERROR(ReadEnds(&steps, database));
    if (steps.first >= 0) with_steps.push_back(steps);
  }
  return with_steps;
}

// The parts of an attempt's steps that none of `taken` (by first step, without
// overlap) covers.
std::vector<LineageSpan> FreeParts(
    const AttemptSteps& steps,
    const std::map<std::int64_t, LineageSpan>& taken) {
  std::vector<LineageSpan> parts;
  std::int64_t at = steps.first;
  for (const auto& [first, span] : taken) {
    if (span.to < at) continue;
    if (first > steps.last) break;
    if (first > at) parts.push_back({steps.id, steps.attempt, at, first - 1});
    at = span.to + 1;
  }
  if (at <= steps.last) {
    parts.push_back({steps.id, steps.attempt, at, steps.last});
  }
  return parts;
}

}  // namespace

absl::StatusOr<std::vector<LineageSpan>> ReadLineage(const RunId& run,
                                                     std::int64_t from,
                                                     std::int64_t to,
                                                     Database& database) {
  ASSIGN_OR_RETURN(const std::vector<AttemptSteps> attempts,
                   ReadAttempts(run, database));
  // From the newest attempt back: each counts where no newer one made steps.
  std::map<std::int64_t, LineageSpan> spans;  // By first step.
  for (const AttemptSteps& steps : attempts) {
    for (const LineageSpan& free : FreeParts(steps, spans)) {
      spans.emplace(free.from, free);
    }
  }
  std::vector<LineageSpan> wanted;
  for (auto& [first, span] : spans) {
    span.from = std::max(span.from, from);
    span.to = std::min(span.to, to);
    if (span.from <= span.to) wanted.push_back(span);
  }
  return wanted;
}

absl::StatusOr<std::vector<LineageSpan>> ReadAbandoned(const RunId& run,
                                                       std::int64_t from,
                                                       std::int64_t to,
                                                       Database& database) {
  ASSIGN_OR_RETURN(const std::vector<AttemptSteps> attempts,
                   ReadAttempts(run, database));
  std::map<std::int64_t, LineageSpan> kept;  // By first step.
  std::vector<LineageSpan> abandoned;
  for (const AttemptSteps& steps : attempts) {
    const std::vector<LineageSpan> free = FreeParts(steps, kept);
    std::map<std::int64_t, LineageSpan> own;
    for (const LineageSpan& span : free) own.emplace(span.from, span);
    for (LineageSpan span : FreeParts(steps, own)) {
      span.from = std::max(span.from, from);
      span.to = std::min(span.to, to);
      if (span.from <= span.to) abandoned.push_back(span);
    }
    kept.insert(own.begin(), own.end());
  }
  return abandoned;
}

absl::StatusOr<std::optional<StepRow>> ReadStepRow(std::int64_t key,
                                                   MetricNames* names,
                                                   Database& database) {
  std::optional<PackedStep> packed;
  StepRow step;
  RETURN_IF_ERROR(database.Query(
      "SELECT r.ranks, s.ended_unix_ms, s.is_complete, s.loss, s.grad_norm,"
      " s.step_seconds, s.step_seconds_max, s.tokens, s.slowest_rank"
      " FROM step_rows r JOIN step_summaries s ON s.key = r.key"
      " WHERE r.key = ?",
      [&](const Row& row) -> absl::Status {
        ASSIGN_OR_RETURN(packed, DecodeStep(row.Bytes(0)));
        step.ended = FromUnixMillis(row.Int(1));
        step.is_complete = row.Int(2) != 0;
        step.loss = row.Real(3);
        step.grad_norm = row.Real(4);
        step.step_seconds = row.Real(5);
        step.step_seconds_max = row.Real(6);
        step.tokens = row.Real(7);
        step.slowest_rank = static_cast<std::int32_t>(row.Int(8));
        return absl::OkStatus();
      },
      key));
  if (!packed) return std::optional<StepRow>();
  step.world_size = packed->world_size;
  step.values = std::move(packed->values);
  for (const std::uint32_t column : packed->columns) {
    if ((column & kNamedColumn) == 0) {
      step.metrics.push_back(column);
      continue;
    }
    ASSIGN_OR_RETURN(std::string name,
                     names->NameOf(column & ~kNamedColumn, database));
    step.metrics.push_back(kFirstNamedMetric +
                           static_cast<std::uint32_t>(step.names.size()));
    step.names.push_back(std::move(name));
  }
  return std::optional(std::move(step));
}

absl::StatusOr<StepRow> ReadStep(const RunId& run, Step step,
                                 MetricNames* names, Database& database) {
  ASSIGN_OR_RETURN(const std::vector<LineageSpan> spans,
                   ReadLineage(run, step.value, step.value, database));
  for (const LineageSpan& span : spans) {
    ASSIGN_OR_RETURN(
        std::optional<StepRow> row,
        ReadStepRow(StepKey(span.attempt_id, step.value), names, database));
    if (!row) continue;
    row->run = run;
    row->attempt = span.attempt;
    row->step = step;
    return *std::move(row);
  }
  return absl::NotFoundError(fmt::format(
      "run '{}' has no ranks stored for step {}: it was not made, or is older "
      "than what is kept in full",
      run, step.value));
}

absl::StatusOr<std::vector<StepRow>> ReadRowPage(const RowQuery& query,
                                                 MetricNames* names,
                                                 Database& database) {
  std::vector<AttemptSteps> attempts;
  RETURN_IF_ERROR(database.Query(
      "SELECT id, attempt FROM attempts WHERE run = ?1 AND attempt >= ?2 AND"
      " attempt >="
      " coalesce((SELECT first_attempt FROM runs WHERE run = ?1), 0)"
      " ORDER BY attempt",
      [&](const Row& row) {
        attempts.push_back({row.Int(0), AttemptId{row.Int(1)}, -1, -1});
        return absl::OkStatus();
      },
      query.run, query.attempt.value));
  std::vector<StepRow> page;
  std::size_t values = 0;
  const auto limit = static_cast<std::size_t>(query.limit);
  for (const AttemptSteps& attempt : attempts) {
    const bool is_begun = attempt.attempt == query.attempt;
    const std::int64_t from = is_begun ? query.step.value + 1 : 0;
    std::vector<std::int64_t> keys;
    RETURN_IF_ERROR(database.Query(
        "SELECT key FROM step_rows WHERE key BETWEEN ? AND ? ORDER BY key"
        " LIMIT ?",
        [&](const Row& row) {
          keys.push_back(row.Int(0));
          return absl::OkStatus();
        },
        StepKey(attempt.id, from), StepKey(attempt.id, kMaxStoredStep),
        limit - page.size()));
    for (const std::int64_t key : keys) {
      ASSIGN_OR_RETURN(std::optional<StepRow> row,
                       ReadStepRow(key, names, database));
      if (!row) continue;
      row->run = query.run;
      row->attempt = attempt.attempt;
      row->step = Step{StepOfKey(key)};
      values += row->values.size();
      page.push_back(*std::move(row));
      if (values >= kMaxPageValues) return page;
    }
    if (page.size() >= limit) break;
  }
  return page;
}

absl::StatusOr<std::vector<RankPoint>> ReadRankSeries(const RankQuery& query,
                                                      Database& database) {
  const std::int64_t to = query.to == kNoStep ? kMaxStoredStep : query.to.value;
  ASSIGN_OR_RETURN(std::vector<LineageSpan> spans,
                   ReadLineage(query.run, query.from.value, to, database));
  std::reverse(spans.begin(), spans.end());
  std::vector<RankPoint> points;  // Newest first, to keep the newest.
  for (const LineageSpan& span : spans) {
    RETURN_IF_ERROR(database.Query(
        "SELECT key, ranks FROM step_rows WHERE key BETWEEN ? AND ?"
        " ORDER BY key DESC LIMIT ?",
        [&](const Row& row) -> absl::Status {
          ASSIGN_OR_RETURN(const float value,
                           DecodeValue(row.Bytes(1),
                                       static_cast<std::uint32_t>(query.metric),
                                       query.rank.value));
          if (!IsAbsent(value)) {
            points.push_back(
                {Step{StepOfKey(row.Int(0))}, span.attempt, value});
          }
          return absl::OkStatus();
        },
        StepKey(span.attempt_id, span.from), StepKey(span.attempt_id, span.to),
        kMaxRankPoints - points.size()));
    if (points.size() >= kMaxRankPoints) break;
  }
  std::reverse(points.begin(), points.end());
  return points;
}

}  // namespace steadyrun
