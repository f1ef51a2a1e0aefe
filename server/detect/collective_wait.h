#pragma once

// Who keeps a hung run waiting, told from how far each rank has come in each
// communicator's sequence of collectives.
//
// Model. In communicator g let m be the newest collective that any member has
// entered. Members that have not entered m are its laggards; those inside m
// wait for them: an edge from each waiter through g to each laggard.
//   root       a laggard that itself waits for nobody: it never came, so its
//              compute or host is at fault
//   cycle      waiters that wait for each other and no root is reached:
//              collectives in different orders, a fault of the code
//   transport  all members entered m and it does not complete: the network, or
//              a device inside the collective
// The reference is a published scheme (wait-for graph over collective sequence
// numbers); communicators are nodes of the graph here, which makes it O(sum of
// the group sizes) instead of waiters times laggards.
//
// Numbers that come with completed steps are equal on all ranks by then: it is
// fed from within a step, by ranks that stand still; see standstills.h.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"

namespace steadyrun {

struct CollectiveMember {
  Rank rank;
  std::uint64_t entered = 0;  // Newest collective entered, counted from 1.
  bool is_inside = false;     // It has not returned from it.
};

struct Communicator {
  std::string name;
  std::vector<CollectiveMember> members;
};

struct LaggingCommunicator {
  std::size_t communicator = 0;  // Index of the input.
  std::uint64_t newest = 0;
  std::vector<Rank> laggards;  // In the order of the members.
  std::size_t waiters = 0;
};

struct CollectiveWait {
  // Those the most ranks wait for first, then by rank.
  std::vector<Rank> roots;
  std::vector<std::vector<Rank>> cycles;  // Each ascending.
  std::vector<LaggingCommunicator> lagging;
  std::vector<std::size_t> transport;  // Communicators stuck inside.
  std::string why;                     // One sentence; empty when nobody waits.
};

// Ranks may be any numbers from 0 up; a negative one is left out.
CollectiveWait AnalyseCollectives(std::span<const Communicator> communicators);

}  // namespace steadyrun
