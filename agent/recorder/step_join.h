#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "proto/messages/messages.h"

namespace steadyrun::agent {

// One rank's record of one step, checked.
struct RankStep {
  Rank rank;
  std::uint64_t number = 0;  // Of the record in the rank's ring.
  Step step;
  std::int64_t end_unix_ms = 0;
  float fixed[8] = {};  // Metric 1..8; absent ones hold AbsentValue().
  std::vector<std::pair<std::string, float>> named;
};

// Joins what the local ranks of one attempt say of a step into one block, with
// a deadline counted from the first of them, so that a hung rank does not hold
// back the others; its record makes a block of its own later. Blocks leave in
// the order in which their steps were first heard of. Pure.
class StepJoin {
 public:
  StepJoin(RunId run, AttemptId attempt, Duration deadline)
      : run_(std::move(run)), attempt_(attempt), deadline_(deadline) {}

  void AddRank(Rank rank) { ranks_.insert(rank); }
  void RemoveRank(Rank rank) { ranks_.erase(rank); }
  bool IsEmpty() const { return ranks_.empty() && pending_.empty(); }

  void Add(RankStep record, MonoTime now);
  // Blocks that are complete or overdue; all of them if `flush`.
  std::vector<StepBlock> Take(MonoTime now, bool flush = false);
  // Number of the rank's oldest record that was not yet taken.
  std::optional<std::uint64_t> OldestHeld(Rank rank) const;

 private:
  // A ring's worth of steps; more are taken early.
  static constexpr std::size_t kMaxPending = 4096;

  struct Pending {
    Step step;
    MonoTime first_heard;
    std::map<Rank, RankStep> ranks;
  };
  bool IsComplete(const Pending& pending) const;
  StepBlock Build(const Pending& pending) const;

  RunId run_;
  AttemptId attempt_;
  Duration deadline_;
  std::set<Rank> ranks_;
  std::deque<Pending> pending_;
};

}  // namespace steadyrun::agent
