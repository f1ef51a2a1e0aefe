#include "server/detect/checkpoint_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <string>
#include <utility>

namespace steadyrun {
namespace {

// Bad checkpoints remembered, so that each is one finding. More than are ever
// kept on disk.
constexpr std::size_t kMaxBad = 256;

}  // namespace

void CheckpointDetector::Begin(const WatchedAttempt& attempt, MonoTime now) {
  attempt_ = attempt;
  base_ = now;
  base_step_ = kNoStep;
  was_running_ = false;
  // is_overdue_ stays: the incident of an earlier attempt ends with the next
  // checkpoint, not with a restart.
}

std::optional<Finding> CheckpointDetector::ObserveBad(
    const CheckpointShardBad& bad, const NodeId& node, Now now) {
  return Bad(bad.attempt, bad.step, bad.rank, node, bad.path, bad.error, now);
}

std::optional<Finding> CheckpointDetector::ObserveShard(
    const CheckpointShard& shard, const NodeId& node, Now now) {
  if (shard.error.empty()) return std::nullopt;
  return Bad(shard.attempt, shard.step, shard.rank, node, shard.path,
             shard.error, now);
}

std::optional<Finding> CheckpointDetector::ObserveCheck(AttemptId attempt,
                                                        Step step,
                                                        const ShardCheck& check,
                                                        const NodeId& node,
                                                        Now now) {
  if (check.ok) return std::nullopt;
  return Bad(attempt, step, check.rank, node, check.path, check.error, now);
}

std::optional<Finding> CheckpointDetector::Bad(AttemptId attempt, Step step,
                                               Rank rank, const NodeId& node,
                                               const std::string& path,
                                               const std::string& error,
                                               Now now) {
  if (!bad_.insert({attempt, step}).second) return std::nullopt;
  if (bad_.size() > kMaxBad) bad_.erase(bad_.begin());
  has_open_bad_ = true;
  Finding finding = MakeFinding(IncidentKind::kCheckpointBad, attempt_, now);
  finding.culprit = {node, rank};
  finding.step = step;
  finding.severity = Severity::kWarning;
  finding.reason = fmt::format(
      "The checkpoint of step {} is bad: the shard of {}: {}.", step.value,
      RankOnNode(rank, node), error.empty() ? "it cannot be read back" : error);
  finding.evidence = {
      fmt::format("attempt {}, {}: {}", attempt.value, path, error)};
  finding.signature = fmt::format("checkpoint_bad attempt={} step={}",
                                  attempt.value, step.value);
  return finding;
}

std::vector<Clearance> CheckpointDetector::ObserveComplete(AttemptId attempt,
                                                           Step step,
                                                           MonoTime now) {
  if (bad_.contains({attempt, step})) return {};
  base_ = now;
  base_step_ = std::max(base_step_, step);
  std::vector<Clearance> cleared;
  const auto clear = [&](IncidentKind kind) {
    Clearance clearance;
    clearance.kind = kind;
    clearance.run = attempt_.run;
    clearance.reason =
        fmt::format("the checkpoint of step {} is complete", step.value);
    cleared.push_back(std::move(clearance));
  };
  if (std::exchange(is_overdue_, false)) {
    clear(IncidentKind::kCheckpointOverdue);
  }
  if (std::exchange(has_open_bad_, false)) clear(IncidentKind::kCheckpointBad);
  return cleared;
}

std::optional<Finding> CheckpointDetector::Evaluate(bool is_running, Step step,
                                                    Now now) {
  if (!is_running) {
    was_running_ = false;
    return std::nullopt;
  }
  if (!was_running_) {
    // Time in which nobody could save does not count.
    was_running_ = true;
    base_ = now.mono;
    base_step_ = step;
  }
  if (is_overdue_) return std::nullopt;
  const Duration unsaved = now.mono - base_;
  const std::int64_t steps = step.value - base_step_.value;
  const bool by_time = options_.interval > Duration::zero() &&
                       ToSeconds(unsaved) >= ToSeconds(options_.interval) *
                                                 options_.overdue_factor;
  const bool by_steps = options_.interval_steps > 0 &&
                        static_cast<double>(steps) >=
                            static_cast<double>(options_.interval_steps) *
                                options_.overdue_factor;
  if (!by_time && !by_steps) return std::nullopt;
  is_overdue_ = true;
  Finding finding =
      MakeFinding(IncidentKind::kCheckpointOverdue, attempt_, now);
  finding.step = step;
  finding.severity = Severity::kWarning;
  finding.reason = fmt::format(
      "No checkpoint was completed for {} and {} steps, more than {} times the "
      "interval of the policy.",
      HumanSeconds(unsaved), steps, options_.overdue_factor);
  finding.evidence = {fmt::format(
      "interval {}, {} steps; last complete before step {}",
      options_.interval > Duration::zero() ? HumanSeconds(options_.interval)
                                           : "not set",
      options_.interval_steps, base_step_.value)};
  finding.signature = "checkpoint_overdue";
  return finding;
}

bool CheckpointDetector::IsSaveDue(Step step, MonoTime now) const {
  if (!was_running_) return false;
  return (options_.interval > Duration::zero() &&
          now - base_ >= options_.interval) ||
         (options_.interval_steps > 0 &&
          step.value - base_step_.value >= options_.interval_steps);
}

}  // namespace steadyrun
