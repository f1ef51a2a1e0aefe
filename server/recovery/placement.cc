#include "server/recovery/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace steadyrun {
namespace {

enum class Fitness { kUsable, kLastResort, kUnusable };

struct Judgement {
  Fitness fitness = Fitness::kUnusable;
  std::string why;  // When not usable.
};

Judgement Judge(const NodeFacts* facts, const RunState& state,
                const Policy& policy) {
  if (facts == nullptr || facts->state == nullptr) {
    return {Fitness::kUnusable, "unknown"};
  }
  if (!facts->is_connected) {
    return {Fitness::kUnusable, "not connected"};
  }
  if (!facts->serving.empty() && facts->serving != state.spec.run) {
    return {Fitness::kUnusable, fmt::format("used by run {}", facts->serving)};
  }
  // A node that was passed over and came back may still run the old attempt.
  if (HasLiveRanksBelow(FindRun(*facts, state.spec.run), state.attempt)) {
    return {Fitness::kUnusable, "still runs an older attempt"};
  }
  if (facts->is_quarantined) {
    return {policy.quarantine.use_as_last_resort ? Fitness::kLastResort
                                                 : Fitness::kUnusable,
            "quarantined"};
  }
  if (facts->node == state.avoid_node) {
    return {Fitness::kLastResort, "blamed for the failure"};
  }
  return {Fitness::kUsable, ""};
}

// Nodes outside the last placement, in the order in which to take them.
std::vector<const NodeFacts*> Spares(const RunState& state,
                                     const ClusterView& cluster,
                                     const Policy& policy, Fitness wanted) {
  std::vector<const NodeFacts*> spares;
  for (const NodeFacts& facts : cluster.nodes) {
    const bool is_placed = std::any_of(
        state.placement.begin(), state.placement.end(),
        [&facts](const NodeAssignment& a) { return a.node == facts.node; });
    if (!is_placed && Judge(&facts, state, policy).fitness == wanted) {
      spares.push_back(&facts);
    }
  }
  return spares;
}

NodeAssignment Assign(const NodeFacts& facts, std::int32_t node_rank) {
  return {facts.node, node_rank, facts.state->boot_id, StopProof::kNone};
}

// The old placement with a hole where a node cannot stay.
struct Seats {
  std::vector<const NodeFacts*> seats;        // By node_rank; null: a hole.
  std::vector<const NodeFacts*> last_resort;  // Quarantined holders, by rank.
  std::vector<std::string> leaving;           // "n2 (silent for 3.1 s)"
};

Seats KeepUsable(const RunState& state, const ClusterView& cluster,
                 const Policy& policy) {
  const auto count = static_cast<std::size_t>(state.spec.nodes);
  Seats result;
  result.seats.resize(count);
  result.last_resort.resize(count);
  for (const NodeAssignment& old : state.placement) {
    if (old.node_rank < 0 || old.node_rank >= state.spec.nodes) continue;
    const auto seat = static_cast<std::size_t>(old.node_rank);
    const NodeFacts* facts = cluster.Find(old.node);
    const Judgement judgement = Judge(facts, state, policy);
    if (judgement.fitness == Fitness::kUsable) {
      result.seats[seat] = facts;
      continue;
    }
    result.leaving.push_back(fmt::format("{} ({})", old.node, judgement.why));
    if (judgement.fitness == Fitness::kLastResort) {
      result.last_resort[seat] = facts;
    }
  }
  return result;
}

std::string Join(const std::vector<std::string>& parts) {
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

PlacementResult ChoosePlacement(const RunState& state,
                                const ClusterView& cluster,
                                const Policy& policy) {
  Seats seats = KeepUsable(state, cluster, policy);
  std::vector<const NodeFacts*> spares =
      Spares(state, cluster, policy, Fitness::kUsable);
  std::vector<const NodeFacts*> suspects =
      Spares(state, cluster, policy, Fitness::kLastResort);
  std::vector<std::string> joining;
  std::vector<std::string> kept;  // Quarantined or blamed, in their own seats.
  std::size_t next_spare = 0;
  std::size_t next_suspect = 0;
  int holes = 0;
  for (std::size_t i = 0; i < seats.seats.size(); ++i) {
    const NodeFacts*& seat = seats.seats[i];
    if (seat != nullptr) continue;
    if (next_spare < spares.size()) {
      seat = spares[next_spare++];
    } else if (seats.last_resort[i] != nullptr) {
      seat = seats.last_resort[i];
      kept.push_back(
          fmt::format("{} ({})", seat->node, Judge(seat, state, policy).why));
      continue;
    } else if (next_suspect < suspects.size()) {
      seat = suspects[next_suspect++];
    } else {
      ++holes;
      continue;
    }
    const Judgement judgement = Judge(seat, state, policy);
    joining.push_back(judgement.why.empty()
                          ? seat->node
                          : fmt::format("{} ({}, but nothing else is left)",
                                        seat->node, judgement.why));
  }
  if (holes > 0) {
    std::string missing =
        fmt::format("{} of {} nodes are missing", holes, state.spec.nodes);
    if (!seats.leaving.empty()) missing += ": " + Join(seats.leaving);
    return {std::nullopt, missing};
  }
  Placement placement;
  for (std::size_t i = 0; i < seats.seats.size(); ++i) {
    placement.nodes.push_back(
        Assign(*seats.seats[i], static_cast<std::int32_t>(i)));
  }
  std::erase_if(seats.leaving, [&kept](const std::string& node) {
    return std::find(kept.begin(), kept.end(), node) != kept.end();
  });
  if (seats.leaving.empty()) {
    placement.reason =
        state.placement.empty() ? "on " + Join(joining) : "on the same nodes";
  } else {
    placement.reason = fmt::format("without {}; with {} in their place",
                                   Join(seats.leaving), Join(joining));
  }
  if (!kept.empty()) {
    placement.reason +=
        fmt::format(", as no other is there also {}", Join(kept));
  }
  return {std::move(placement), ""};
}

}  // namespace steadyrun
