#include "server/detect/standstills.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace steadyrun {
namespace {

// An incident keeps 64 lines; these leave room for the ranks' own.
constexpr std::size_t kMaxCollectiveLines = 4;
constexpr std::size_t kMaxSuspectStacks = 3;
constexpr std::size_t kMaxClusters = 3;  // Shown when nobody is suspected.
constexpr std::size_t kMaxNamed = 8;     // Ranks of one list.
constexpr std::size_t kMaxNumbers = 4;   // Of one communicator.
constexpr std::size_t kMaxFrames = 5;    // Of one stack.

std::size_t Index(Rank rank) { return static_cast<std::size_t>(rank.value); }
Rank RankOf(std::size_t index) {
  return Rank{static_cast<std::int32_t>(index)};
}

// "rank 2", "ranks 0, 1, 3", "ranks 0, 1, ... and 992 more".
std::string Named(const std::vector<Rank>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  const std::size_t named = std::min(ranks.size(), kMaxNamed);
  for (std::size_t i = 0; i < named; ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", ranks[i].value);
  }
  if (named < ranks.size()) {
    text += fmt::format(" and {} more", ranks.size() - named);
  }
  return text;
}

std::string StackText(std::span<const std::string> frames) {
  std::string text;
  const std::size_t shown = std::min(frames.size(), kMaxFrames);
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i == 0 ? "" : " < ") + frames[i];
  }
  return shown < frames.size() ? text + " < ..." : text;
}

std::string CollectiveLine(const Communicator& group) {
  std::map<std::uint64_t, std::vector<Rank>, std::greater<>> by_number;
  for (const CollectiveMember& member : group.members) {
    by_number[member.entered].push_back(member.rank);
  }
  std::string text = fmt::format("collective {}:", group.name);
  if (by_number.size() == 1) {
    return fmt::format("{} all {} ranks have entered {}", text,
                       group.members.size(), by_number.begin()->first);
  }
  // The newest ones and, always, the oldest: it is the one that holds.
  std::size_t place = 0;
  std::size_t between = 0;
  for (const auto& [number, ranks] : by_number) {
    const bool is_oldest = ++place == by_number.size();
    if (place >= kMaxNumbers && !is_oldest) {
      between += ranks.size();
      continue;
    }
    if (between > 0) text += fmt::format(" {} are between,", between);
    text += fmt::format(" {} {} entered {}{}", Named(ranks),
                        ranks.size() == 1 ? "has" : "have", number,
                        is_oldest ? "" : ",");
  }
  return text;
}

// As it stands at the oldest collective that not all members have entered.
Communicator AtOldestIncomplete(const Communicator& group) {
  const auto [lowest, newest] =
      std::ranges::minmax(group.members, {}, &CollectiveMember::entered);
  Communicator seen = group;
  for (CollectiveMember& member : seen.members) {
    member.is_inside =
        member.entered > lowest.entered || lowest.entered == newest.entered;
    if (member.entered > lowest.entered) member.entered = lowest.entered + 1;
  }
  return seen;
}

// One member tells nothing of the others; a collective that nobody entered is
// no collective.
bool IsComparable(const Communicator& group) {
  return group.members.size() >= 2 &&
         std::ranges::any_of(group.members, [](const CollectiveMember& member) {
           return member.entered > 0;
         });
}

struct Mark {
  std::string name;   // "0:0-3" of "0:0-3 (20 at step 256)"
  std::string place;  // " at step 256)"
  auto operator<=>(const Mark&) const = default;
};

std::optional<Mark> MarkOf(const std::string& group) {
  const std::size_t open = group.rfind(" (");
  const std::size_t place = group.rfind(" at step ");
  if (open == group.npos || place == group.npos || place < open) {
    return std::nullopt;
  }
  return Mark{group.substr(0, open), group.substr(place)};
}

// Communicators with ranks behind, in the order in which people need them:
// those that the (first few) suspects hold up, then those where most wait.
std::vector<std::size_t> InOrder(std::vector<LaggingCommunicator> lagging,
                                 std::span<const std::size_t> suspects) {
  suspects = suspects.first(std::min(suspects.size(), kMaxNamed));
  std::ranges::stable_sort(lagging, std::ranges::greater(),
                           &LaggingCommunicator::waiters);
  std::ranges::stable_partition(lagging, [&](const LaggingCommunicator& g) {
    return std::ranges::any_of(suspects, [&](std::size_t r) {
      return std::ranges::binary_search(g.laggards, RankOf(r));
    });
  });
  std::vector<std::size_t> order;
  std::ranges::transform(lagging, std::back_inserter(order),
                         &LaggingCommunicator::communicator);
  return order;
}

}  // namespace

Standstills::Standstills(const RunProgress& progress,
                         std::span<const std::size_t> living)
    : living_(living.size()) {
  Collect(progress, living);
  std::vector<Communicator> seen;
  seen.reserve(groups_.size());
  std::ranges::transform(groups_, std::back_inserter(seen), AtOldestIncomplete);
  wait_ = AnalyseCollectives(seen);
  clusters_ = ClusterStacks(stacks_, groups_);
}

void Standstills::Collect(const RunProgress& progress,
                          std::span<const std::size_t> living) {
  std::unordered_map<std::string_view, std::size_t> index;
  for (const std::size_t r : living) {
    const Standstill* told = progress.Ranks()[r].standstill.get();
    if (told == nullptr) silent_.push_back(r);
    if (told == nullptr || told->collectives.empty()) ++without_positions_;
    if (told == nullptr) continue;
    for (const CollectivePosition& position : told->collectives) {
      const auto [at, is_new] = index.emplace(position.group, groups_.size());
      if (is_new) groups_.push_back({position.group, {}});
      auto& members = groups_[at->second].members;
      // A rank that names a group twice counts once.
      if (!members.empty() && members.back().rank == RankOf(r)) continue;
      members.push_back({RankOf(r), position.entered, false});
    }
    if (!told->stack.empty()) stacks_.push_back({RankOf(r), told->stack});
  }
  LeaveOutUneven();
  std::erase_if(groups_, std::not_fn(IsComparable));
}

void Standstills::LeaveOutUneven() {
  std::map<Mark, std::size_t> variants;
  for (const Communicator& group : groups_) {
    if (const auto mark = MarkOf(group.name)) ++variants[*mark];
  }
  std::erase_if(variants, [](const auto& item) { return item.second == 1; });
  std::ranges::transform(variants, std::back_inserter(uneven_),
                         [](const auto& item) { return item.first.name; });
  std::vector<Communicator> even;
  for (Communicator& group : groups_) {
    const auto mark = MarkOf(group.name);
    if (!mark || !variants.contains(*mark)) even.push_back(std::move(group));
  }
  groups_ = std::move(even);
}

const RankStack* Standstills::StackOf(std::size_t rank) const {
  const auto at =
      std::ranges::lower_bound(stacks_, RankOf(rank), {}, &RankStack::rank);
  return at != stacks_.end() && at->rank == RankOf(rank) ? &*at : nullptr;
}

Standstills::Ranks Standstills::Roots() const {
  Ranks roots;
  std::ranges::transform(wait_.roots, std::back_inserter(roots), Index);
  if (without_positions_ == 0) return roots;
  std::set<std::string> waiting;  // Innermost frames of those who wait.
  for (const LaggingCommunicator& lagging : wait_.lagging) {
    for (const CollectiveMember& member :
         groups_[lagging.communicator].members) {
      if (std::ranges::binary_search(lagging.laggards, member.rank)) continue;
      const RankStack* stack = StackOf(Index(member.rank));
      if (stack != nullptr) waiting.insert(NormaliseFrame(stack->frames[0]));
    }
  }
  const bool all_elsewhere = std::ranges::all_of(roots, [&](std::size_t r) {
    const RankStack* stack = StackOf(r);
    return stack != nullptr && !waiting.empty() &&
           !waiting.contains(NormaliseFrame(stack->frames[0]));
  });
  return all_elsewhere ? roots : Ranks();
}

bool Standstills::AllEntered() const {
  return without_positions_ == 0 && uneven_.empty() && wait_.lagging.empty() &&
         !wait_.transport.empty();
}

Standstills::Ranks Standstills::Outliers() const {
  if (clusters_.outliers.empty() ||
      clusters_.clusters.front().ranks.size() * 2 <= living_) {
    return {};
  }
  Ranks outliers;
  std::ranges::transform(clusters_.outliers, std::back_inserter(outliers),
                         Index);
  return outliers;
}

std::string Standstills::WhyOutlier(std::size_t rank) const {
  const StackClusters::Cluster& most = clusters_.clusters.front();
  const std::string& own = StackOf(rank)->frames[0];
  const std::string& other = StackOf(Index(most.ranks[0]))->frames[0];
  std::string why =
      NormaliseFrame(own) == most.top
          ? fmt::format("it came to {} by another way than the other {}", own,
                        most.ranks.size())
          : fmt::format("it stands in {}, the other {} in {}", own,
                        most.ranks.size(), other);
  if (clusters_.outliers.size() > 1 && clusters_.shared.has_value()) {
    why += fmt::format("; all such ranks are of {}",
                       groups_[*clusters_.shared].name);
  }
  return why;
}

Standstills::Ranks Standstills::Silent() const {
  if (silent_.empty()) return {};
  const std::size_t telling = living_ - silent_.size();
  return telling * 4 >= (living_ - 1) * 3 && telling > 0 ? silent_ : Ranks();
}

void Standstills::AddCollectives(std::span<const std::size_t> suspects,
                                 std::vector<std::string>* lines) const {
  const std::vector<std::size_t> shown = wait_.lagging.empty()
                                             ? wait_.transport
                                             : InOrder(wait_.lagging, suspects);
  for (std::size_t i = 0; i < std::min(shown.size(), kMaxCollectiveLines);
       ++i) {
    lines->push_back(CollectiveLine(groups_[shown[i]]));
  }
  if (shown.size() > kMaxCollectiveLines) {
    lines->back() += fmt::format(
        "; {} more communicators {}", shown.size() - kMaxCollectiveLines,
        wait_.lagging.empty() ? "are like it" : "have ranks behind");
  }
  if (!uneven_.empty()) {
    lines->push_back(fmt::format(
        "{}{} not compared: its members had entered different numbers before, "
        "as sends between two of them count too",
        uneven_.front(),
        uneven_.size() == 1 ? " is"
                            : fmt::format(" and {} more communicators are",
                                          uneven_.size() - 1)));
  }
}

void Standstills::AddStacks(std::span<const std::size_t> suspects,
                            std::vector<std::string>* lines) const {
  std::size_t shown = 0;
  for (const std::size_t r : suspects) {
    const RankStack* stack = StackOf(r);
    if (stack == nullptr || shown == kMaxSuspectStacks) continue;
    ++shown;
    lines->push_back(
        fmt::format("stack of rank {}: {}", r, StackText(stack->frames)));
  }
  const std::size_t most = suspects.empty() ? kMaxClusters : 1;
  for (std::size_t i = 0; i < std::min(most, clusters_.clusters.size()); ++i) {
    const std::vector<Rank>& ranks = clusters_.clusters[i].ranks;
    const std::size_t first = Index(ranks[0]);
    if (ranks.size() == 1 &&
        std::ranges::find(suspects, first) != suspects.end()) {
      continue;
    }
    const std::string whose =
        ranks.size() == 1
            ? fmt::format("stack of rank {}", first)
            : fmt::format("stacks of {} ranks alike", ranks.size());
    lines->push_back(
        fmt::format("{}: {}", whose, StackText(StackOf(first)->frames)));
  }
}

std::vector<std::string> Standstills::Lines(
    std::span<const std::size_t> suspects) const {
  std::vector<std::string> lines;
  AddCollectives(suspects, &lines);
  AddStacks(suspects, &lines);
  if (!silent_.empty() && silent_.size() < living_) {
    std::vector<Rank> ranks;
    std::ranges::transform(silent_, std::back_inserter(ranks), RankOf);
    lines.push_back("neither collectives nor a stack came from " +
                    Named(ranks));
  }
  return lines;
}

}  // namespace steadyrun
