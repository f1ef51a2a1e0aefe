#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>

#include "server/detect/hang_detector.h"

namespace steadyrun {
namespace {

constexpr std::size_t kMaxLines = 16;  // Ranks listed as evidence.
constexpr double kComputing = 0.5;     // Share of a core.
constexpr double kWaiting = 0.1;

using Ranks = std::vector<std::size_t>;

// Where a phase stands within a step; what comes later has to wait for what
// comes earlier on other ranks. 0: has no place.
int OrderInStep(Phase phase) {
  switch (phase) {
    case Phase::kData:
      return 1;
    case Phase::kRollout:
      return 2;
    case Phase::kReward:
      return 3;
    case Phase::kReference:
      return 4;
    case Phase::kForward:
      return 5;
    case Phase::kBackward:
      return 6;
    case Phase::kOptimizer:
      return 7;
    case Phase::kWeightSync:
      return 8;
    case Phase::kUnspecified:
    case Phase::kStartup:
    case Phase::kStep:
    case Phase::kCheckpoint:
    case Phase::kEvaluation:
    case Phase::kCompile:
    case Phase::kShutdown:
    case Phase::kOther:
      return 0;
  }
  return 0;
}

class LaggardSearch {
 public:
  LaggardSearch(const RunProgress& progress, MonoTime now)
      : progress_(progress), now_(now) {
    for (std::size_t r = 0; r < progress.Ranks().size(); ++r) {
      if (At(r).is_known && At(r).life != RankLife::kExited) {
        living_.push_back(r);
      }
    }
  }

  Laggard Run() {
    Laggard laggard = Find();
    // Suspects first, then the others in order, as far as there is room.
    for (const std::size_t r : living_) {
      if (laggard.evidence.size() >= kMaxLines) break;
      std::string line = Line(r);
      if (std::ranges::find(laggard.evidence, line) == laggard.evidence.end()) {
        laggard.evidence.push_back(std::move(line));
      }
    }
    return laggard;
  }

 private:
  const RankProgress& At(std::size_t r) const { return progress_.Ranks()[r]; }
  const NodeId& NodeOf(std::size_t r) const {
    return progress_.Attempt().rank_nodes[r];
  }

  Laggard Find() const {
    if (living_.empty()) return {{}, "no living rank is known", {}};
    if (living_.size() == 1) {
      return Blame(living_, "it is the only rank");
    }
    if (auto found = ByState()) return *found;
    if (auto found = ByStep()) return *found;
    if (auto found = ByPhase()) return *found;
    if (auto found = ByCpu()) return *found;
    if (auto found = ByPhaseCount()) return *found;
    return {{},
            fmt::format("all {} ranks stand at the same place", living_.size()),
            {}};
  }

  // A suspect set must be the smaller part, or nobody is singled out.
  bool IsMinority(const Ranks& ranks) const {
    return !ranks.empty() && ranks.size() * 2 <= living_.size();
  }

  template <typename Predicate>
  Ranks Where(Predicate predicate) const {
    Ranks ranks;
    std::ranges::copy_if(living_, std::back_inserter(ranks), predicate);
    return ranks;
  }

  Laggard Blame(const Ranks& ranks, std::string why) const {
    Laggard laggard;
    laggard.why = std::move(why);
    for (const std::size_t r : ranks) {
      if (laggard.evidence.size() < kMaxLines) {
        laggard.evidence.push_back(Line(r));
      }
    }
    const NodeId& node = NodeOf(ranks.front());
    if (ranks.size() == 1) {
      laggard.culprit = {node, Rank{static_cast<std::int32_t>(ranks[0])}};
    } else if (std::ranges::all_of(
                   ranks, [&](std::size_t r) { return NodeOf(r) == node; })) {
      laggard.culprit.node = node;
    } else {
      laggard.why += fmt::format(" ({} ranks on several nodes)", ranks.size());
    }
    return laggard;
  }

  std::optional<Laggard> ByState() const {
    const Ranks stopped =
        Where([&](std::size_t r) { return At(r).stopped_since.has_value(); });
    if (stopped.empty() || stopped.size() == living_.size()) {
      return std::nullopt;
    }
    return Blame(stopped, "its process is stopped (state T)");
  }

  std::optional<Laggard> ByStep() const {
    const Step lowest = progress_.MinStep();
    const Ranks behind =
        Where([&](std::size_t r) { return At(r).step == lowest; });
    if (!IsMinority(behind)) return std::nullopt;
    return Blame(
        behind,
        fmt::format("it is at step {}, the other {} at {}", lowest.value,
                    living_.size() - behind.size(), progress_.MaxStep().value));
  }

  std::optional<Laggard> ByPhase() const {
    std::map<Phase, Ranks> groups;
    for (const std::size_t r : living_) groups[At(r).phase].push_back(r);
    if (groups.size() < 2) return std::nullopt;
    const auto largest = std::ranges::max_element(
        groups, {}, [](const auto& group) { return group.second.size(); });
    if (largest->second.size() * 2 > living_.size()) {
      const Ranks others =
          Where([&](std::size_t r) { return At(r).phase != largest->first; });
      return Blame(others, fmt::format("it is in phase {}, the other {} in {}",
                                       PhaseName(At(others[0]).phase),
                                       largest->second.size(),
                                       PhaseName(largest->first)));
    }
    // No majority: who is earliest within the step keeps the others waiting.
    Ranks earliest;
    int order = 0;
    for (const auto& [phase, ranks] : groups) {
      const int place = OrderInStep(phase);
      if (place == 0) return std::nullopt;
      if (order == 0 || place < order) {
        order = place;
        earliest = ranks;
      }
    }
    if (!IsMinority(earliest)) return std::nullopt;
    return Blame(earliest, fmt::format("it is still in phase {}",
                                       PhaseName(At(earliest[0]).phase)));
  }

  std::optional<Laggard> ByPhaseCount() const {
    const std::uint64_t lowest =
        At(*std::ranges::min_element(living_, {}, [&](std::size_t r) {
          return At(r).phase_seq;
        })).phase_seq;
    const Ranks behind =
        Where([&](std::size_t r) { return At(r).phase_seq == lowest; });
    // Ranks may differ by habit (rank 0 evaluates alone): only a few count.
    if (behind.size() * 2 >= living_.size()) return std::nullopt;
    return Blame(behind, "it made fewer phase changes than the others");
  }

  std::optional<Laggard> ByCpu() const {
    const Ranks computing =
        Where([&](std::size_t r) { return At(r).CpuShare() >= kComputing; });
    const Ranks waiting = Where([&](std::size_t r) {
      return At(r).CpuShare() >= 0 && At(r).CpuShare() <= kWaiting;
    });
    if (computing.size() + waiting.size() != living_.size()) {
      return std::nullopt;
    }
    if (IsMinority(computing)) {
      return Blame(computing, "it computes while the others wait");
    }
    if (IsMinority(waiting)) {
      return Blame(waiting, "it waits while the others spin");
    }
    return std::nullopt;
  }

  std::string Line(std::size_t r) const {
    const RankProgress& rank = At(r);
    std::string line =
        fmt::format("{}: step {}, phase {} (change {}), advanced {} ago",
                    RankOnNode(Rank{static_cast<std::int32_t>(r)}, NodeOf(r)),
                    rank.step.value, PhaseName(rank.phase), rank.phase_seq,
                    HumanSeconds(now_ - rank.advanced));
    if (rank.process_state != 0) {
      line += fmt::format(", process state {}", rank.process_state);
    }
    if (rank.CpuShare() >= 0) {
      line += fmt::format(", CPU {:.0f} %", 100 * rank.CpuShare());
    }
    return line;
  }

  const RunProgress& progress_;
  const MonoTime now_;
  Ranks living_;
};

}  // namespace

Laggard FindLaggard(const RunProgress& progress, MonoTime now) {
  return LaggardSearch(progress, now).Run();
}

}  // namespace steadyrun
