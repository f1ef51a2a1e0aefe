#include "server/detect/integrity/replica_vote.h"

#include <utility>

namespace steadyrun {
namespace {

constexpr std::uint32_t kFewestForMajority = 3;

}  // namespace

void ReplicaVote::Begin(std::vector<std::uint32_t> group_of,
                        std::size_t groups) {
  group_of_ = std::move(group_of);
  groups_.assign(groups, Group());
}

VoteResult ReplicaVote::Count(std::span<const std::uint64_t> values) {
  for (Group& group : groups_) group = Group();
  for (std::size_t r = 0; r < values.size(); ++r) {
    if (values[r] == kNoVote) continue;
    Group& group = groups_[group_of_[r]];
    ++group.voters;
    if (group.lead == 0) group.candidate = values[r];
    if (group.candidate == values[r]) {
      ++group.lead;
    } else {
      --group.lead;
    }
  }
  for (std::size_t r = 0; r < values.size(); ++r) {
    Group& group = groups_[group_of_[r]];
    if (values[r] != kNoVote && values[r] == group.candidate) ++group.agreeing;
  }
  VoteResult result;
  bool is_disputed = false;
  for (const Group& group : groups_) {
    if (group.voters < 2) continue;
    ++result.groups;
    result.voters += group.voters;
    const bool is_agreeing = group.agreeing == group.voters;
    result.agreeing_groups += is_agreeing ? 1 : 0;
    is_disputed |= !is_agreeing;
  }
  if (!is_disputed) return result;
  for (std::size_t r = 0; r < values.size(); ++r) {
    if (values[r] == kNoVote) continue;
    const Group& group = groups_[group_of_[r]];
    if (group.voters < 2 || group.agreeing == group.voters) continue;
    const bool is_decided =
        group.voters >= kFewestForMajority && group.agreeing * 2 > group.voters;
    if (!is_decided) {
      result.undecided.push_back(r);
    } else if (values[r] != group.candidate) {
      result.dissenters.push_back(r);
    }
  }
  return result;
}

}  // namespace steadyrun
