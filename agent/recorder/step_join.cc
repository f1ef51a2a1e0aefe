#include "agent/recorder/step_join.h"

#include <algorithm>
#include <bit>

namespace steadyrun::agent {
namespace {

constexpr std::uint32_t kFixedMetrics = 8;

// One column of a block: values of all ranks, absent where a rank has none.
class Columns {
 public:
  explicit Columns(std::size_t ranks) : ranks_(ranks) {}

  void Set(std::uint32_t metric, std::size_t at, float value) {
    if (IsAbsent(value)) return;
    auto [column, is_new] = columns_.try_emplace(metric);
    if (is_new) column->second.assign(ranks_, AbsentValue());
    column->second[at] = value;
  }
  void MoveTo(StepBlock* block) {
    for (auto& [metric, values] : columns_) {
      block->metrics.push_back(metric);
      block->values.insert(block->values.end(), values.begin(), values.end());
    }
  }

 private:
  std::size_t ranks_;
  std::map<std::uint32_t, std::vector<float>> columns_;
};

}  // namespace

void StepJoin::Add(RankStep record, MonoTime now) {
  // From the back: a rank's record nearly always belongs to a recent step.
  // A rank that repeats a step (it went back) opens a new block.
  auto same = std::find_if(
      pending_.rbegin(), pending_.rend(),
      [&](const Pending& pending) { return pending.step == record.step; });
  if (same == pending_.rend() || same->ranks.contains(record.rank)) {
    pending_.push_back(Pending{record.step, now, {}});
    same = pending_.rbegin();
  }
  const Rank rank = record.rank;
  same->ranks.emplace(rank, std::move(record));
}

bool StepJoin::IsComplete(const Pending& pending) const {
  return std::all_of(ranks_.begin(), ranks_.end(),
                     [&](Rank rank) { return pending.ranks.contains(rank); });
}

std::vector<StepBlock> StepJoin::Take(MonoTime now, bool flush) {
  std::vector<StepBlock> blocks;
  while (!pending_.empty()) {
    const Pending& oldest = pending_.front();
    const bool is_due = flush || IsComplete(oldest) ||
                        now - oldest.first_heard >= deadline_ ||
                        pending_.size() > kMaxPending;
    if (!is_due) break;
    blocks.push_back(Build(oldest));
    pending_.pop_front();
  }
  return blocks;
}

std::optional<std::uint64_t> StepJoin::OldestHeld(Rank rank) const {
  std::optional<std::uint64_t> oldest;
  for (const Pending& pending : pending_) {
    const auto it = pending.ranks.find(rank);
    if (it == pending.ranks.end()) continue;
    oldest = std::min(oldest.value_or(it->second.number), it->second.number);
  }
  return oldest;
}

StepBlock StepJoin::Build(const Pending& pending) const {
  StepBlock block;
  block.run = run_;
  block.attempt = attempt_;
  block.step = pending.step;
  Columns columns(pending.ranks.size());
  std::size_t at = 0;
  for (const auto& [rank, record] : pending.ranks) {
    block.ranks.push_back(static_cast<std::uint32_t>(rank.value));
    block.end_unix_ms = std::max(block.end_unix_ms, record.end_unix_ms);
    for (std::uint32_t i = 0; i < kFixedMetrics; ++i) {
      columns.Set(i + 1, at, record.fixed[i]);
    }
    for (const auto& [name, value] : record.named) {
      auto it = std::find(block.names.begin(), block.names.end(), name);
      if (it == block.names.end()) {
        if (block.names.size() >= kMaxNamedMetrics) continue;
        it = block.names.insert(block.names.end(), name);
      }
      const auto index = static_cast<std::uint32_t>(it - block.names.begin());
      columns.Set(kFirstNamedMetric + index, at, value);
    }
    ++at;
  }
  columns.MoveTo(&block);
  return block;
}

}  // namespace steadyrun::agent
