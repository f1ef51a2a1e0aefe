#pragma once

// Checkpoints that changed on disk, could not be read back, or do not come.
//
// Bad: the agent reads its newest shards again; one finding a checkpoint.
// A shard that could not be read back when it was saved is bad from birth.
// Overdue: policy sets an interval and none completed for overdue_factor
// intervals of running time (time in which no rank could save does not
// count). Cleared when the next one completes.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/options.h"
#include "server/detect/watched_attempt.h"

namespace steadyrun {

class CheckpointDetector {
 public:
  explicit CheckpointDetector(const CheckpointOptions& options)
      : options_(options) {}

  void Begin(const WatchedAttempt& attempt, MonoTime now);

  // `node` is where it was found. Also for shards of older attempts.
  std::optional<Finding> ObserveBad(const CheckpointShardBad& bad,
                                    const NodeId& node, Now now);
  // A shard report; a finding when it carries an error.
  std::optional<Finding> ObserveShard(const CheckpointShard& shard,
                                      const NodeId& node, Now now);
  // A failed check before a resume.
  std::optional<Finding> ObserveCheck(AttemptId attempt, Step step,
                                      const ShardCheck& check,
                                      const NodeId& node, Now now);
  // All shards of this checkpoint are there. Ends an overdue, and the bad ones
  // before it, whose place it takes.
  std::vector<Clearance> ObserveComplete(AttemptId attempt, Step step,
                                         MonoTime now);

  // `is_running`: the attempt makes steps; `step`: its newest.
  std::optional<Finding> Evaluate(bool is_running, Step step, Now now);

  // The policy's interval has passed: order a save. Stays true until one
  // completes.
  bool IsSaveDue(Step step, MonoTime now) const;

 private:
  std::optional<Finding> Bad(AttemptId attempt, Step step, Rank rank,
                             const NodeId& node, const std::string& path,
                             const std::string& error, Now now);

  CheckpointOptions options_;
  WatchedAttempt attempt_;
  std::set<std::pair<AttemptId, Step>> bad_;  // At most kMaxBad, oldest go.
  MonoTime base_;             // Last complete, or begin of running.
  Step base_step_ = kNoStep;  // Its step; kNoStep: not known yet.
  bool was_running_ = false;
  bool is_overdue_ = false;
  bool has_open_bad_ = false;  // Since the last complete checkpoint.
};

}  // namespace steadyrun
