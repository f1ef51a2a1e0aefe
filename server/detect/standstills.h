#pragma once

// What the ranks of a run that hangs tell of where they stand, taken together:
// who is behind in a communicator, who stands elsewhere, who tells nothing.
//
// Communicators are made of the ranks that named the same group. Known of a
// member is how many of its collectives it has entered, not whether it has
// returned. So the question is asked at the oldest collective that not all
// members have entered: who has entered it (or a later one, as asynchronous
// calls run several ahead) is taken to be inside and to wait for those who
// have not. When all have entered the same number, all are taken to be inside
// the newest.
//
// Only numbers of equal things compare. A library may count other calls too
// (sends between two members), and then they differ while nothing is wrong. A
// group that is named "name (N at step S)" tells that the rank had entered N at
// the end of step S: where members had different numbers at an equal step the
// communicator is left out.
//
// A group holds only members that told of it. While a rank tells no positions
// it may be a missing member of any group, and a rank that looks like a root
// may wait for it: then roots hold only if each stands in another innermost
// frame than all who wait.
//
// Positions of different age may be compared only because nobody advances:
// that is the caller's to know. Built once a verdict: O(what ranks told).

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "server/detect/collective_wait.h"
#include "server/detect/run_progress.h"
#include "server/detect/stack_clusters.h"

namespace steadyrun {

class Standstills {
 public:
  using Ranks = std::vector<std::size_t>;

  // Of the ranks of `living`, ascending, which are indices of
  // progress.Ranks(). `progress` must stay as it is meanwhile.
  Standstills(const RunProgress& progress, std::span<const std::size_t> living);

  const CollectiveWait& Wait() const { return wait_; }
  // Who keeps the others waiting, as ordered in Wait(); empty when that does
  // not show.
  Ranks Roots() const;
  // All ranks told their positions, all of them compare, and nobody is behind
  // anywhere.
  bool AllEntered() const;
  // Those who stand elsewhere than more than half of all ranks do.
  Ranks Outliers() const;
  // "it stands in read (data.py:88), the other 3 in all_reduce (dist.py:9)"
  std::string WhyOutlier(std::size_t rank) const;
  // Those who tell nothing, when at least 3 of 4 others do.
  Ranks Silent() const;

  // Lines for people: communicators (at most 4), stacks (at most 4), and who
  // tells nothing. Bounded in length too.
  std::vector<std::string> Lines(std::span<const std::size_t> suspects) const;

 private:
  void Collect(const RunProgress& progress,
               std::span<const std::size_t> living);
  void LeaveOutUneven();
  const RankStack* StackOf(std::size_t rank) const;
  void AddCollectives(std::span<const std::size_t> suspects,
                      std::vector<std::string>* lines) const;
  void AddStacks(std::span<const std::size_t> suspects,
                 std::vector<std::string>* lines) const;

  std::size_t living_ = 0;
  std::vector<Communicator> groups_;  // As told.
  std::vector<RankStack> stacks_;     // By rank.
  Ranks silent_;
  std::size_t without_positions_ = 0;
  std::vector<std::string> uneven_;  // Communicators that are left out.
  CollectiveWait wait_;
  StackClusters clusters_;
};

}  // namespace steadyrun
