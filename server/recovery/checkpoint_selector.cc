#include "server/recovery/checkpoint_selector.h"

#include <fmt/format.h>

#include <iterator>

namespace steadyrun {
namespace {

// What stood in the way of newer ones, newest first, at most three.
class Passed {
 public:
  void Add(const Checkpoint& checkpoint) {
    if (++count_ > 3) return;
    if (count_ > 1) text_ += ", ";
    text_ += fmt::format("{} is {}", checkpoint.step.value,
                         CheckpointStateName(checkpoint.state));
    if (!checkpoint.reason.empty()) text_ += " (" + checkpoint.reason + ")";
  }
  std::string Text() const {
    if (count_ == 0) return "";
    return "; passed over: " + text_ +
           (count_ > 3 ? fmt::format(" and {} more", count_ - 3) : "");
  }

 private:
  int count_ = 0;
  std::string text_;
};

}  // namespace

bool IsUsable(const Checkpoint& checkpoint) {
  switch (checkpoint.state) {
    case CheckpointState::kComplete:
    case CheckpointState::kVerified:
    case CheckpointState::kTrusted:
      return true;
    case CheckpointState::kWritten:
    case CheckpointState::kDistrusted:
      return false;
  }
  return false;
}

CheckpointChoice SelectCheckpoint(const CheckpointMap& checkpoints,
                                  std::optional<Step> below,
                                  std::optional<Step> at) {
  Passed passed;
  for (auto it = checkpoints.rbegin(); it != checkpoints.rend(); ++it) {
    const Checkpoint& checkpoint = it->second;
    if (below.has_value() && checkpoint.step >= *below) continue;
    if (at.has_value() && checkpoint.step != *at) continue;
    if (!IsUsable(checkpoint)) {
      passed.Add(checkpoint);
      continue;
    }
    std::string reason = fmt::format("{} checkpoint of step {}",
                                     CheckpointStateName(checkpoint.state),
                                     checkpoint.step.value);
    if (below.has_value()) {
      reason += fmt::format(", the newest below step {}", below->value);
    }
    return {&checkpoint, reason + passed.Text()};
  }
  std::string reason = "no usable checkpoint";
  if (at.has_value()) reason += fmt::format(" at step {}", at->value);
  if (below.has_value()) reason += fmt::format(" below step {}", below->value);
  return {nullptr, reason + ": from the beginning" + passed.Text()};
}

const CheckpointShard* ShardOf(const Checkpoint& checkpoint, Rank rank) {
  auto it = checkpoint.shards.upper_bound(rank.value);
  if (it == checkpoint.shards.begin()) return nullptr;
  return &std::prev(it)->second;
}

}  // namespace steadyrun
