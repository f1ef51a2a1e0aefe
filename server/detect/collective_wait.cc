#include "server/detect/collective_wait.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace steadyrun {
namespace {

constexpr std::size_t kUnseen = std::numeric_limits<std::size_t>::max();

// Nodes: ranks from 0 on, then communicators. Edges: a waiter to its
// communicator, a communicator to its laggards.
class WaitGraph {
 public:
  explicit WaitGraph(std::span<const Communicator> communicators)
      : communicators_(communicators) {
    for (const Communicator& group : communicators) {
      for (const CollectiveMember& member : group.members) {
        ranks_ = std::max(ranks_, static_cast<std::size_t>(
                                      std::max(member.rank.value + 1, 0)));
      }
    }
    edges_.resize(ranks_ + communicators.size());
    waited_for_.resize(ranks_, 0);
  }

  CollectiveWait Run() {
    CollectiveWait result;
    for (std::size_t g = 0; g < communicators_.size(); ++g) {
      AddCommunicator(g, &result);
    }
    FindRoots(&result);
    FindCycles(&result);
    Explain(&result);
    return result;
  }

 private:
  void AddCommunicator(std::size_t g, CollectiveWait* result) {
    LaggingCommunicator lagging;
    lagging.communicator = g;
    std::vector<std::size_t> waiters;
    const auto& members = communicators_[g].members;
    for (const CollectiveMember& member : members) {
      lagging.newest = std::max(lagging.newest, member.entered);
    }
    for (const CollectiveMember& member : members) {
      if (member.rank.value < 0) continue;
      if (member.entered < lagging.newest) {
        lagging.laggards.push_back(member.rank);
      } else if (member.is_inside) {
        waiters.push_back(static_cast<std::size_t>(member.rank.value));
      }
    }
    if (waiters.empty()) return;  // Behind, and nobody minds.
    if (lagging.laggards.empty()) {
      if (waiters.size() == members.size()) result->transport.push_back(g);
      return;
    }
    for (const std::size_t waiter : waiters) {
      edges_[waiter].push_back(ranks_ + g);
    }
    for (const Rank laggard : lagging.laggards) {
      const auto rank = static_cast<std::size_t>(laggard.value);
      edges_[ranks_ + g].push_back(rank);
      waited_for_[rank] += waiters.size();
    }
    lagging.waiters = waiters.size();
    result->lagging.push_back(std::move(lagging));
  }

  void FindRoots(CollectiveWait* result) const {
    for (std::size_t r = 0; r < ranks_; ++r) {
      if (waited_for_[r] > 0 && edges_[r].empty()) {
        result->roots.push_back(Rank{static_cast<std::int32_t>(r)});
      }
    }
    std::ranges::stable_sort(
        result->roots, std::ranges::greater(), [&](Rank rank) {
          return waited_for_[static_cast<std::size_t>(rank.value)];
        });
  }

  // Tarjan's strongly connected components, with a stack of its own: the
  // chain of a pipeline may be thousands of ranks long.
  void FindCycles(CollectiveWait* result) {
    order_.assign(edges_.size(), kUnseen);
    low_.assign(edges_.size(), 0);
    is_open_.assign(edges_.size(), 0);
    for (std::size_t node = 0; node < edges_.size(); ++node) {
      if (order_[node] == kUnseen) Visit(node, result);
    }
  }

  void Visit(std::size_t start, CollectiveWait* result) {
    struct Frame {
      std::size_t node;
      std::size_t next;  // Edge.
    };
    std::vector<Frame> frames;
    Open(start);
    frames.push_back({start, 0});
    while (!frames.empty()) {
      Frame& frame = frames.back();
      if (frame.next < edges_[frame.node].size()) {
        const std::size_t to = edges_[frame.node][frame.next++];
        if (order_[to] == kUnseen) {
          Open(to);
          frames.push_back({to, 0});
        } else if (is_open_[to] != 0) {
          low_[frame.node] = std::min(low_[frame.node], order_[to]);
        }
        continue;
      }
      const std::size_t node = frame.node;
      frames.pop_back();
      if (!frames.empty()) {
        low_[frames.back().node] =
            std::min(low_[frames.back().node], low_[node]);
      }
      if (low_[node] == order_[node]) Close(node, result);
    }
  }

  void Open(std::size_t node) {
    order_[node] = low_[node] = count_++;
    is_open_[node] = 1;
    open_.push_back(node);
  }

  void Close(std::size_t root, CollectiveWait* result) {
    std::vector<Rank> ranks;
    while (true) {
      const std::size_t node = open_.back();
      open_.pop_back();
      is_open_[node] = 0;
      if (node < ranks_) {
        ranks.push_back(Rank{static_cast<std::int32_t>(node)});
      }
      if (node == root) break;
    }
    if (ranks.size() < 2) return;
    std::ranges::sort(ranks);
    result->cycles.push_back(std::move(ranks));
  }

  void Explain(CollectiveWait* result) const {
    if (!result->roots.empty()) {
      const Rank rank = result->roots.front();
      const auto held = std::ranges::find_if(
          result->lagging, [&](const LaggingCommunicator& lagging) {
            return std::ranges::find(lagging.laggards, rank) !=
                   lagging.laggards.end();
          });
      result->why = fmt::format(
          "it has not entered collective {} of {}, in which {} ranks wait",
          held->newest, communicators_[held->communicator].name, held->waiters);
    } else if (!result->cycles.empty()) {
      result->why = fmt::format(
          "{} ranks wait for each other in a circle: they call collectives in "
          "different orders",
          result->cycles.front().size());
    } else if (!result->transport.empty()) {
      result->why = fmt::format(
          "all ranks of {} have entered its newest collective, and it does "
          "not complete",
          communicators_[result->transport.front()].name);
    }
  }

  std::span<const Communicator> communicators_;
  std::size_t ranks_ = 0;
  std::vector<std::vector<std::size_t>> edges_;
  std::vector<std::size_t> waited_for_;  // By rank: ranks that wait for it.
  std::vector<std::size_t> order_;
  std::vector<std::size_t> low_;
  std::vector<std::uint8_t> is_open_;
  std::vector<std::size_t> open_;
  std::size_t count_ = 0;
};

}  // namespace

CollectiveWait AnalyseCollectives(std::span<const Communicator> communicators) {
  return WaitGraph(communicators).Run();
}

}  // namespace steadyrun
