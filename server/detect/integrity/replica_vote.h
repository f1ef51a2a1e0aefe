#pragma once

// A vote among ranks that must hold the same value, in groups. Two passes of
// Boyer and Moore's majority vote: O(ranks), whatever the number of values.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace steadyrun {

// "Did not report": no hash has 49 bits, and no float 33.
inline constexpr std::uint64_t kNoVote = ~std::uint64_t{0};

struct VoteResult {
  // Ranks that differ from more than half of their group's at least 3 voters.
  std::vector<std::size_t> dissenters;
  // Voters of groups that disagree and have no such majority: one of them is
  // wrong, and which one the vote cannot tell.
  std::vector<std::size_t> undecided;
  std::size_t agreeing_groups = 0;  // Of at least 2 voters, all alike.
  std::size_t groups = 0;           // Of at least 2 voters.
  std::size_t voters = 0;           // In those.

  bool IsUnanimous() const { return groups > 0 && agreeing_groups == groups; }
};

class ReplicaVote {
 public:
  // `group_of`: by rank, below `groups`.
  void Begin(std::vector<std::uint32_t> group_of, std::size_t groups);
  // `values`: by rank. Reuses its memory: nothing is kept between calls.
  VoteResult Count(std::span<const std::uint64_t> values);

  std::size_t StateBytes() const {
    return group_of_.capacity() * sizeof(std::uint32_t) +
           groups_.capacity() * sizeof(Group);
  }

 private:
  struct Group {
    std::uint64_t candidate = kNoVote;
    std::uint32_t lead = 0;
    std::uint32_t voters = 0;
    std::uint32_t agreeing = 0;
  };
  std::vector<std::uint32_t> group_of_;
  std::vector<Group> groups_;
};

}  // namespace steadyrun
