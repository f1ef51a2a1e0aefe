#include "server/storage/step_bucket.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "server/storage/step_key.h"

namespace steadyrun {
namespace {

// Mean of two means over `weight_a` and `weight_b` values; NaN is no value.
double MeanOf(double a, double weight_a, double b, double weight_b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  return a + (b - a) * (weight_b / (weight_a + weight_b));
}

double LossWeight(const StepBucket& bucket) {
  return static_cast<double>(
      std::max<std::int64_t>(1, bucket.steps - bucket.nonfinite));
}

StepBucket ReadSummary(const Row& row) {
  StepBucket bucket;
  bucket.first = bucket.last = Step{StepOfKey(row.Int(0))};
  bucket.steps = 1;
  bucket.ended = FromUnixMillis(row.Int(1));
  const double loss = row.Real(2);
  const double grad_norm = row.Real(3);
  bucket.nonfinite = !std::isfinite(loss) || std::isinf(grad_norm) ? 1 : 0;
  bucket.loss = std::isfinite(loss) ? loss : std::nan("");
  bucket.loss_min = bucket.loss_max = bucket.loss;
  bucket.grad_norm = std::isfinite(grad_norm) ? grad_norm : std::nan("");
  bucket.step_seconds = row.Real(4);
  bucket.step_seconds_max = row.Real(5);
  bucket.tokens = row.Real(6);
  bucket.slowest_rank = static_cast<std::int32_t>(row.Int(7));
  return bucket;
}

StepBucket ReadBucket(std::int64_t level, const Row& row) {
  StepBucket bucket;
  bucket.first = Step{StepOfKey(row.Int(0)) * level};
  bucket.last = Step{bucket.first.value + level - 1};
  bucket.steps = row.Int(1);
  bucket.nonfinite = row.Int(2);
  bucket.ended = FromUnixMillis(row.Int(3));
  bucket.loss = row.Real(4);
  bucket.loss_min = row.Real(5);
  bucket.loss_max = row.Real(6);
  bucket.grad_norm = row.Real(7);
  bucket.step_seconds = row.Real(8);
  bucket.step_seconds_max = row.Real(9);
  bucket.tokens = row.Real(10);
  bucket.slowest_rank = static_cast<std::int32_t>(row.Int(11));
  return bucket;
}

constexpr std::string_view kReadSummaries =
    "SELECT key, ended_unix_ms, loss, grad_norm, step_seconds,"
    " step_seconds_max, tokens, slowest_rank FROM step_summaries"
    " WHERE key BETWEEN ? AND ? ORDER BY key";
constexpr std::string_view kRead16 =
    "SELECT key, steps, nonfinite, ended_unix_ms, loss, loss_min, loss_max,"
    " grad_norm, step_seconds, step_seconds_max, tokens, slowest_rank"
    " FROM step_buckets_16 WHERE key BETWEEN ? AND ? ORDER BY key";
constexpr std::string_view kRead256 =
    "SELECT key, steps, nonfinite, ended_unix_ms, loss, loss_min, loss_max,"
    " grad_norm, step_seconds, step_seconds_max, tokens, slowest_rank"
    " FROM step_buckets_256 WHERE key BETWEEN ? AND ? ORDER BY key";
constexpr std::string_view kSave16 =
    "INSERT OR REPLACE INTO step_buckets_16 (key, steps, nonfinite,"
    " ended_unix_ms, loss, loss_min, loss_max, grad_norm, step_seconds,"
    " step_seconds_max, tokens, slowest_rank)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr std::string_view kSave256 =
    "INSERT OR REPLACE INTO step_buckets_256 (key, steps, nonfinite,"
    " ended_unix_ms, loss, loss_min, loss_max, grad_norm, step_seconds,"
    " step_seconds_max, tokens, slowest_rank)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

}  // namespace

void AddBucket(const StepBucket& part, StepBucket* total) {
  if (total->steps == 0) {
    *total = part;
    return;
  }
  total->loss =
      MeanOf(total->loss, LossWeight(*total), part.loss, LossWeight(part));
  total->step_seconds =
      MeanOf(total->step_seconds, static_cast<double>(total->steps),
             part.step_seconds, static_cast<double>(part.steps));
  // fmin and fmax take the number where the other is NaN.
  total->loss_min = std::fmin(total->loss_min, part.loss_min);
  total->loss_max = std::fmax(total->loss_max, part.loss_max);
  total->grad_norm = std::fmax(total->grad_norm, part.grad_norm);
  if (!(part.step_seconds_max <= total->step_seconds_max)) {
    total->step_seconds_max =
        std::fmax(total->step_seconds_max, part.step_seconds_max);
    total->slowest_rank = part.slowest_rank;
  }
  total->tokens += std::isnan(part.tokens) ? 0 : part.tokens;
  total->steps += part.steps;
  total->nonfinite += part.nonfinite;
  total->last = part.last;
  total->attempt = part.attempt;
  total->ended = std::max(total->ended, part.ended);
}

absl::StatusOr<std::vector<StepBucket>> ReadBuckets(std::int64_t level,
                                                    std::int64_t attempt_id,
                                                    std::int64_t from,
                                                    std::int64_t to,
                                                    Database& database) {
  std::vector<StepBucket> buckets;
  const auto read = [&](const Row& row) {
    buckets.push_back(level == 1 ? ReadSummary(row) : ReadBucket(level, row));
    return absl::OkStatus();
  };
  const std::string_view sql = level == 1    ? kReadSummaries
                               : level == 16 ? kRead16
                                             : kRead256;
  // Only whole buckets: the last one ends at or before `to`.
  const std::int64_t first = from / level;
  const std::int64_t last = (to + 1) / level - 1;
  if (last < first) return buckets;
  RETURN_IF_ERROR(database.Query(sql, read, StepKey(attempt_id, first),
                                 StepKey(attempt_id, last)));
  return buckets;
}

absl::Status SaveBucket(std::int64_t level, std::int64_t attempt_id,
                        const StepBucket& bucket, Database& database) {
  SR_CHECK(level == 16 || level == 256);
  return database.Run(
      level == 16 ? kSave16 : kSave256,
      StepKey(attempt_id, bucket.first.value / level), bucket.steps,
      bucket.nonfinite, ToUnixMillis(bucket.ended), bucket.loss,
      bucket.loss_min, bucket.loss_max, bucket.grad_norm, bucket.step_seconds,
      bucket.step_seconds_max, bucket.tokens, bucket.slowest_rank);
}

}  // namespace steadyrun
