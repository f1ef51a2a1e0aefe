#include <algorithm>
#include <optional>

#include "server/storage/step_bucket.h"
#include "server/storage/step_key.h"
#include "server/storage/step_reader.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun {
namespace {

struct Rolled {
  std::int64_t to_16 = 0;
  std::int64_t to_256 = 0;
};

absl::StatusOr<Rolled> ReadRolled(std::int64_t attempt_id, Database& database) {
  Rolled rolled;
  RETURN_IF_ERROR(database.Query(
      "SELECT rolled_16, rolled_256 FROM attempts WHERE id = ?",
      [&](const Row& row) {
        rolled = {row.Int(0), row.Int(1)};
        return absl::OkStatus();
      },
      attempt_id));
  return rolled;
}

// Steps [from, to] of one attempt from the coarsest rows not above `level`
// (an index of kBucketLevels): whole buckets in the middle, finer ones at the
// edges and where nothing is rolled up yet.
absl::Status ReadSpan(std::size_t level, const LineageSpan& span,
                      std::int64_t from, std::int64_t to, const Rolled& rolled,
                      Database& database, std::vector<StepBucket>* out) {
  if (from > to) return absl::OkStatus();
  const std::int64_t width = kBucketLevels[level];
  if (level == 0) {
    ASSIGN_OR_RETURN(std::vector<StepBucket> buckets,
                     ReadBuckets(1, span.attempt_id, from, to, database));
    out->insert(out->end(), buckets.begin(), buckets.end());
    return absl::OkStatus();
  }
  const std::int64_t rolled_to = width == 16 ? rolled.to_16 : rolled.to_256;
  const std::int64_t begin = (from + width - 1) / width * width;
  const std::int64_t end = std::min(to + 1, rolled_to) / width * width;
  if (begin >= end) {
    return ReadSpan(level - 1, span, from, to, rolled, database, out);
  }
  RETURN_IF_ERROR(
      ReadSpan(level - 1, span, from, begin - 1, rolled, database, out));
  ASSIGN_OR_RETURN(
      std::vector<StepBucket> buckets,
      ReadBuckets(width, span.attempt_id, begin, end - 1, database));
  out->insert(out->end(), buckets.begin(), buckets.end());
  return ReadSpan(level - 1, span, end, to, rolled, database, out);
}

}  // namespace

absl::StatusOr<std::vector<StepBucket>> ReadCurve(const StepQuery& query,
                                                  Database& database) {
  if (query.max_buckets < 1 || query.max_buckets > kMaxBuckets) {
    return absl::InvalidArgumentError(fmt::format(
        "{} buckets wanted: ask for 1 to {}", query.max_buckets, kMaxBuckets));
  }
  const std::int64_t from = std::max<std::int64_t>(0, query.from.value);
  const std::int64_t to = query.to == kNoStep ? kMaxStoredStep : query.to.value;
  ASSIGN_OR_RETURN(const std::vector<LineageSpan> spans,
                   query.abandoned
                       ? ReadAbandoned(query.run, from, to, database)
                       : ReadLineage(query.run, from, to, database));
  std::vector<StepBucket> curve;
  if (spans.empty()) return curve;
  std::int64_t first = spans.front().from;
  std::int64_t steps = 0;
  for (const LineageSpan& span : spans) first = std::min(first, span.from);
  for (const LineageSpan& span : spans) {
    // Abandoned spans may overlap: together they have so many steps to show.
    steps = query.abandoned ? steps + span.to - span.from + 1
                            : std::max(steps, span.to - first + 1);
  }
  const std::int64_t width =
      (steps + query.max_buckets - 1) / query.max_buckets;
  const std::size_t level = width >= 256 ? 2 : width >= 16 ? 1 : 0;
  std::int64_t last_index = -1;
  AttemptId last_attempt;
  for (const LineageSpan& span : spans) {
    ASSIGN_OR_RETURN(const Rolled rolled,
                     ReadRolled(span.attempt_id, database));
    std::vector<StepBucket> parts;
    RETURN_IF_ERROR(
        ReadSpan(level, span, span.from, span.to, rolled, database, &parts));
    for (StepBucket& part : parts) {
      part.attempt = span.attempt;
      const std::int64_t index = (part.first.value - first) / width;
      const bool is_other = query.abandoned && span.attempt != last_attempt;
      if (index != last_index || is_other) curve.emplace_back();
      last_index = index;
      last_attempt = span.attempt;
      AddBucket(part, &curve.back());
    }
  }
  return curve;
}

}  // namespace steadyrun
