#include "server/engine/ledger.h"

#include <algorithm>
#include <utility>

namespace steadyrun {

void Ledger::Restore(Checkpoint checkpoint) {
  const CheckpointKey key{checkpoint.step, checkpoint.attempt};
  if (checkpoint.state == CheckpointState::kVerified) verified_.insert(key);
  checkpoints_[key] = std::move(checkpoint);
}

Ledger::Added Ledger::Add(const CheckpointShard& shard, Now now) {
  const CheckpointKey key{shard.step, shard.attempt};
  auto [it, is_new] = checkpoints_.try_emplace(key);
  Checkpoint& checkpoint = it->second;
  if (is_new) {
    checkpoint.run = shard.run;
    checkpoint.attempt = shard.attempt;
    checkpoint.step = shard.step;
    if (checkpoints_.size() > kMaxEntries) {
      auto oldest = checkpoints_.begin();
      if (oldest == it) ++oldest;
      changed_.erase(oldest->first);
      verified_.erase(oldest->first);
      checkpoints_.erase(oldest);
    }
  }
  checkpoint.shards_expected =
      std::max(checkpoint.shards_expected, std::max(1, shard.shards));
  checkpoint.shards[shard.rank.value] = shard;
  checkpoint.saved = now.wall;
  checkpoint.save_seconds =
      std::max(checkpoint.save_seconds, shard.save_seconds);
  Changed(key);
  Added added{&checkpoint, false};
  if (!shard.error.empty() || shard.sha256.empty()) {
    Distrust(shard.attempt, shard.step,
             shard.error.empty() ? "a shard has no digest"
                                 : "could not be read back: " + shard.error);
    return added;
  }
  const bool is_full = static_cast<std::int32_t>(checkpoint.shards.size()) >=
                       checkpoint.shards_expected;
  if (checkpoint.state == CheckpointState::kWritten && is_full) {
    checkpoint.state = CheckpointState::kVerified;
    verified_.insert(key);
    added.is_now_verified = true;
  }
  return added;
}

bool Ledger::Distrust(AttemptId attempt, Step step, const std::string& reason) {
  auto it = checkpoints_.find({step, attempt});
  if (it == checkpoints_.end() ||
      it->second.state == CheckpointState::kDistrusted) {
    return false;
  }
  it->second.state = CheckpointState::kDistrusted;
  it->second.reason = reason;
  verified_.erase(it->first);
  Changed(it->first);
  return true;
}

void Ledger::DistrustFrom(Step step, const std::string& reason) {
  for (auto it = checkpoints_.lower_bound({step, AttemptId{0}});
       it != checkpoints_.end(); ++it) {
    Distrust(it->second.attempt, it->second.step, reason);
  }
}

void Ledger::Trust(AttemptId attempt, AttemptId resumed_from, Step resume_step,
                   Step step, std::int64_t trust_steps) {
  for (auto it = verified_.begin(); it != verified_.end();) {
    const auto [saved, saved_by] = *it;
    if (saved.value + trust_steps > step.value) break;  // By step: all later.
    const bool is_in_lineage =
        saved_by == attempt ||
        (saved_by == resumed_from && saved == resume_step);
    if (!is_in_lineage) {
      ++it;
      continue;
    }
    checkpoints_[*it].state = CheckpointState::kTrusted;
    Changed(*it);
    it = verified_.erase(it);
  }
}

const Checkpoint* Ledger::Find(AttemptId attempt, Step step) const {
  auto it = checkpoints_.find({step, attempt});
  return it == checkpoints_.end() ? nullptr : &it->second;
}

std::vector<Checkpoint> Ledger::TakeChanged() {
  std::vector<Checkpoint> changed;
  for (const CheckpointKey& key : changed_) {
    changed.push_back(checkpoints_.at(key));
  }
  changed_.clear();
  return changed;
}

}  // namespace steadyrun
