#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "server/model/finding.h"

namespace steadyrun {

// Which attempt a detector watches. Handed to Begin(); reports of any other
// attempt are ignored.
struct WatchedAttempt {
  RunId run;
  AttemptId attempt;
  std::vector<NodeId> rank_nodes;  // By rank.
  std::int64_t target_steps = 0;   // 0: unknown.

  std::size_t WorldSize() const { return rank_nodes.size(); }
  bool Has(Rank rank) const {
    return rank.value >= 0 &&
           static_cast<std::size_t>(rank.value) < rank_nodes.size();
  }
  // Empty for a rank outside the world.
  NodeId NodeOf(Rank rank) const {
    return Has(rank) ? rank_nodes[static_cast<std::size_t>(rank.value)]
                     : NodeId();
  }
};

// A condition a detector had reported no longer holds.
struct Clearance {
  IncidentKind kind = IncidentKind::kAgentLost;
  RunId run;
  Culprit culprit;     // As in the finding it ends; empty: all of the kind.
  std::string reason;  // One sentence for a person.
};

// What detectors have to say after one evaluation. To be taken in order: the
// findings, causes before what they cause, then the clearances, which may end
// a finding of the same batch.
struct Verdicts {
  std::vector<Finding> findings;
  std::vector<Clearance> cleared;
  bool IsEmpty() const { return findings.empty() && cleared.empty(); }
};

// "rank 3 on node-b".
std::string RankOnNode(Rank rank, const NodeId& node);
// A finding about `attempt` with the common fields filled.
Finding MakeFinding(IncidentKind kind, const WatchedAttempt& attempt,
                    Now onset);
// "12.3 s" for evidence and reasons; "340 ms" below a second.
std::string HumanSeconds(Duration duration);

}  // namespace steadyrun
