#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <utility>

#include "server/detect/hang_detector.h"
#include "server/detect/standstills.h"

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

Ranks LivingRanks(const RunProgress& progress) {
  Ranks living;
  for (std::size_t r = 0; r < progress.Ranks().size(); ++r) {
    const RankProgress& rank = progress.Ranks()[r];
    if (rank.is_known && rank.life != RankLife::kExited) living.push_back(r);
  }
  return living;
}

class LaggardSearch {
 public:
  LaggardSearch(const RunProgress& progress, MonoTime now)
      : progress_(progress),
        now_(now),
        living_(LivingRanks(progress)),
        standstills_(progress, living_) {}

  Laggard Run() const {
    const Suspicion suspicion = Find();
    Laggard laggard = Name(suspicion);
    for (const std::size_t r : suspicion.ranks) {
      if (laggard.evidence.size() == kMaxLines) break;
      laggard.evidence.push_back(Line(r));
    }
    // Then the others in order, as far as there is room.
    std::size_t left = kMaxLines - laggard.evidence.size();
    std::ranges::move(standstills_.Lines(suspicion.ranks),
                      std::back_inserter(laggard.evidence));
    for (const std::size_t r : living_) {
      if (left == 0) break;
      if (std::ranges::binary_search(suspicion.ranks, r)) continue;
      laggard.evidence.push_back(Line(r));
      --left;
    }
    return laggard;
  }

 private:
  struct Suspicion {
    Ranks ranks;  // Ascending; empty: nobody is singled out.
    std::string why;
  };

  const RankProgress& At(std::size_t r) const { return progress_.Ranks()[r]; }
  const NodeId& NodeOf(std::size_t r) const {
    return progress_.Attempt().rank_nodes[r];
  }

  Suspicion Find() const {
    if (living_.empty()) return {{}, "no living rank is known"};
    if (living_.size() == 1) return {living_, "it is the only rank"};
    if (auto found = ByState()) return *found;
    if (auto found = ByCollectives()) return *found;
    if (auto found = ByStep()) return *found;
    if (auto found = ByPhase()) return *found;
    if (auto found = ByCpu()) return *found;
    if (auto found = ByPhaseCount()) return *found;
    if (auto found = ByStack()) return *found;
    if (auto found = BySilence()) return *found;
    return {{}, WhyUnknown()};
  }

  std::string WhyUnknown() const {
    if (standstills_.AllEntered()) {
      return fmt::format(
          "all {} ranks have entered the same collectives: the network, or a "
          "device inside a collective",
          living_.size());
    }
    const std::size_t roots = standstills_.Wait().roots.size();
    if (roots * 2 >= living_.size()) {
      return fmt::format("{} of {} ranks are behind in a collective", roots,
                         living_.size());
    }
    return fmt::format("all {} ranks stand at the same place", living_.size());
  }

  // A suspect set must be the smaller part, or nobody is singled out.
  bool IsMinority(const Ranks& ranks) const {
    return !ranks.empty() && ranks.size() * 2 <= living_.size();
  }

  bool IsFew(const Ranks& ranks) const {
    return !ranks.empty() && ranks.size() * 2 < living_.size();
  }

  template <typename Predicate>
  Ranks Where(Predicate predicate) const {
    Ranks ranks;
    std::ranges::copy_if(living_, std::back_inserter(ranks), predicate);
    return ranks;
  }

  static Suspicion Blame(Ranks ranks, std::string why) {
    return {std::move(ranks), std::move(why)};
  }

  // The rank, or the node that all of them are on.
  Laggard Name(const Suspicion& suspicion) const {
    const Ranks& ranks = suspicion.ranks;
    Laggard laggard;
    laggard.why = suspicion.why;
    if (ranks.empty()) return laggard;
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

  std::optional<Suspicion> ByState() const {
    const Ranks stopped =
        Where([&](std::size_t r) { return At(r).stopped_since.has_value(); });
    if (stopped.empty() || stopped.size() == living_.size()) {
      return std::nullopt;
    }
    return Blame(stopped, "its process is stopped (state T)");
  }

  // The one that never came, or the few. Ranks that wait in a circle are all
  // at fault, or none of them: it is the code they share.
  std::optional<Suspicion> ByCollectives() const {
    Ranks roots = standstills_.Roots();
    const CollectiveWait& wait = standstills_.Wait();
    if (roots.size() == 1 || IsFew(roots)) {
      std::ranges::sort(roots);
      return Blame(std::move(roots), wait.why);
    }
    if (wait.roots.empty() && !wait.cycles.empty()) return Blame({}, wait.why);
    return std::nullopt;
  }

  std::optional<Suspicion> ByStep() const {
    const Step lowest = progress_.MinStep();
    const Ranks behind =
        Where([&](std::size_t r) { return At(r).step == lowest; });
    if (!IsMinority(behind)) return std::nullopt;
    return Blame(
        behind,
        fmt::format("it is at step {}, the other {} at {}", lowest.value,
                    living_.size() - behind.size(), progress_.MaxStep().value));
  }

  std::optional<Suspicion> ByPhase() const {
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

  std::optional<Suspicion> ByPhaseCount() const {
    const std::uint64_t lowest =
        At(*std::ranges::min_element(living_, {}, [&](std::size_t r) {
          return At(r).phase_seq;
        })).phase_seq;
    const Ranks behind =
        Where([&](std::size_t r) { return At(r).phase_seq == lowest; });
    // Ranks may differ by habit (rank 0 evaluates alone): only a few count.
    if (!IsFew(behind)) return std::nullopt;
    return Blame(behind, "it made fewer phase changes than the others");
  }

  std::optional<Suspicion> ByCpu() const {
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

  std::optional<Suspicion> ByStack() const {
    const Ranks outliers = standstills_.Outliers();
    if (!IsFew(outliers)) return std::nullopt;
    return Blame(outliers, standstills_.WhyOutlier(outliers.front()));
  }

  // A main thread in C code that keeps the interpreter's lock cannot tell.
  std::optional<Suspicion> BySilence() const {
    const Ranks silent = standstills_.Silent();
    if (!IsMinority(silent)) return std::nullopt;
    return Blame(silent,
                 fmt::format("it does not tell where it stands, the other {} "
                             "do",
                             living_.size() - silent.size()));
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
  const Ranks living_;
  const Standstills standstills_;
};

}  // namespace

Laggard FindLaggard(const RunProgress& progress, MonoTime now) {
  return LaggardSearch(progress, now).Run();
}

}  // namespace steadyrun
