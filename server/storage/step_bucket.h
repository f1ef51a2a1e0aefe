#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/storage/history.h"
#include "server/storage/sqlite.h"

namespace steadyrun {

// Levels of the pyramid: how many steps one stored row sums up. Level 1 is the
// step summary itself.
inline constexpr std::int64_t kBucketLevels[] = {1, 16, 256};

// Takes `part`, which comes after it, into `total`; an empty total (steps = 0)
// becomes `part`.
void AddBucket(const StepBucket& part, StepBucket* total);

// The stored rows of one level whose steps lie in [from, to], in order;
// attempt numbers are not filled in. `from` must be a multiple of the level.
absl::StatusOr<std::vector<StepBucket>> ReadBuckets(std::int64_t level,
                                                    std::int64_t attempt_id,
                                                    std::int64_t from,
                                                    std::int64_t to,
                                                    Database& database);
// Level 16 or 256.
absl::Status SaveBucket(std::int64_t level, std::int64_t attempt_id,
                        const StepBucket& bucket, Database& database);

}  // namespace steadyrun
