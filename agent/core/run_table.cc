#include "agent/core/run_table.h"

#include <algorithm>

namespace steadyrun::agent {
namespace {

bool IsLive(const RankEntry& entry) {
  return entry.seen.life != RankLife::kExited;
}

}  // namespace

void RunTable::Observe(const RunId& run, const RankState& seen, MonoTime now) {
  auto [it, is_new] = runs_[run].try_emplace(Key{seen.attempt, seen.rank});
  RankEntry& entry = it->second;
  if (!is_new && !IsLive(entry)) return;
  const RankState before = entry.seen;
  entry.seen = seen;
  entry.phase_since = now - seen.phase_age;
  entry.progress_since = now - seen.progress_age;
  entry.exited_at = now - seen.exit_age;
  entry.stack_taken = now - seen.stack_age;
  if (is_new) return;
  // A recorder read late, or not attached yet, takes nothing back.
  entry.seen.step = std::max(entry.seen.step, before.step);
  if (entry.seen.pid == 0) entry.seen.pid = before.pid;
  if (before.life == RankLife::kAlive &&
      entry.seen.life == RankLife::kStarting) {
    entry.seen.life = RankLife::kAlive;
  }
}

RankEntry* RunTable::Find(const RunId& run, AttemptId attempt, Rank rank) {
  const auto it = runs_.find(run);
  if (it == runs_.end()) return nullptr;
  const auto found = it->second.find(Key{attempt, rank});
  return found == it->second.end() ? nullptr : &found->second;
}

bool RunTable::HasLive(const RunId& run) const {
  const auto it = runs_.find(run);
  if (it == runs_.end()) return false;
  return std::ranges::any_of(
      it->second, [](const auto& item) { return IsLive(item.second); });
}

bool RunTable::HasLiveBelow(const RunId& run, AttemptId attempt) const {
  const auto it = runs_.find(run);
  if (it == runs_.end()) return false;
  return std::ranges::any_of(it->second, [attempt](const auto& item) {
    return item.first.first < attempt && IsLive(item.second);
  });
}

bool RunTable::HasRanksOf(const RunId& run, AttemptId attempt) const {
  const auto it = runs_.find(run);
  if (it == runs_.end()) return false;
  return std::ranges::any_of(it->second, [attempt](const auto& item) {
    return item.first.first == attempt;
  });
}

std::vector<const RankEntry*> RunTable::LiveOf(const RunId& run,
                                               AttemptId attempt) const {
  std::vector<const RankEntry*> live;
  const auto it = runs_.find(run);
  if (it == runs_.end()) return live;
  for (const auto& [key, entry] : it->second) {
    if (key.first == attempt && IsLive(entry)) live.push_back(&entry);
  }
  return live;
}

std::vector<RankEntry*> RunTable::LiveBelow(const RunId& run,
                                            AttemptId attempt) {
  std::vector<RankEntry*> live;
  const auto it = runs_.find(run);
  if (it == runs_.end()) return live;
  for (auto& [key, entry] : it->second) {
    if (key.first < attempt && IsLive(entry)) live.push_back(&entry);
  }
  return live;
}

std::vector<RunId> RunTable::Runs() const {
  std::vector<RunId> names;
  names.reserve(runs_.size());
  for (const auto& [run, ranks] : runs_) names.push_back(run);
  return names;
}

void RunTable::PruneBelow(const RunId& run, AttemptId attempt) {
  const auto it = runs_.find(run);
  if (it == runs_.end()) return;
  std::erase_if(it->second, [attempt](const auto& item) {
    return item.first.first < attempt && !IsLive(item.second);
  });
}

void RunTable::Erase(const RunId& run) { runs_.erase(run); }

std::vector<RankState> RunTable::States(const RunId& run, MonoTime now) const {
  std::vector<RankState> states;
  const auto it = runs_.find(run);
  if (it == runs_.end()) return states;
  states.reserve(it->second.size());
  for (const auto& [key, entry] : it->second) {
    RankState state = entry.seen;
    state.phase_age = std::max(Duration::zero(), now - entry.phase_since);
    state.progress_age = std::max(Duration::zero(), now - entry.progress_since);
    state.exit_age = IsLive(entry)
                         ? Duration::zero()
                         : std::max(Duration::zero(), now - entry.exited_at);
    if (!IsLive(entry)) {  // It stands nowhere.
      state.collectives.clear();
      state.stack.clear();
    }
    state.stack_age = state.stack.empty()
                          ? Duration::zero()
                          : std::max(Duration::zero(), now - entry.stack_taken);
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace steadyrun::agent
