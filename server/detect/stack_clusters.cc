#include "server/detect/stack_clusters.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>
#include <set>
#include <utility>

namespace steadyrun {
namespace {

using Frames = std::span<const std::string>;

struct ByFrames {
  bool operator()(Frames a, Frames b) const {
    return std::ranges::lexicographical_compare(a, b);
  }
};

bool IsHex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsWord(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

std::optional<std::size_t> SmallestWithAll(
    const std::vector<Rank>& ranks,
    std::span<const Communicator> communicators) {
  std::optional<std::size_t> smallest;
  for (std::size_t g = 0; g < communicators.size(); ++g) {
    const auto& members = communicators[g].members;
    if (smallest.has_value() &&
        members.size() >= communicators[*smallest].members.size()) {
      continue;
    }
    std::set<Rank> in;
    for (const CollectiveMember& member : members) in.insert(member.rank);
    if (std::ranges::all_of(ranks, [&](Rank r) { return in.contains(r); })) {
      smallest = g;
    }
  }
  return smallest;
}

}  // namespace

std::string NormaliseFrame(std::string_view frame) {
  std::string text;
  for (std::size_t i = 0; i < frame.size();) {
    // A number that is part of a name (conv2d) stays.
    const bool is_start = i == 0 || !IsWord(frame[i - 1]);
    if (!is_start || !IsDigit(frame[i])) {
      text += frame[i++];
      continue;
    }
    std::size_t end = i;
    if (frame.substr(i).starts_with("0x")) end += 2;
    while (end < frame.size() && IsHex(frame[end])) ++end;
    text += '#';
    i = end;
  }
  return text;
}

StackClusters ClusterStacks(std::span<const RankStack> stacks,
                            std::span<const Communicator> communicators) {
  std::map<std::vector<std::string>, std::vector<Rank>> groups;
  // Most stacks are equal to the letter: each such one is normalised once.
  std::map<Frames, std::vector<Rank>*, ByFrames> seen;
  for (const RankStack& stack : stacks) {
    const auto [at, is_new] = seen.emplace(stack.frames, nullptr);
    if (is_new) {
      std::vector<std::string> frames;
      frames.reserve(stack.frames.size());
      std::ranges::transform(stack.frames, std::back_inserter(frames),
                             NormaliseFrame);
      at->second = &groups[std::move(frames)];
    }
    at->second->push_back(stack.rank);
  }
  StackClusters result;
  for (auto& [frames, ranks] : groups) {
    result.clusters.push_back(
        {frames.empty() ? std::string() : frames.front(), std::move(ranks)});
  }
  std::ranges::stable_sort(
      result.clusters, std::ranges::greater(),
      [](const StackClusters::Cluster& c) { return c.ranks.size(); });
  if (result.clusters.size() < 2 ||
      result.clusters.front().ranks.size() * 2 <= stacks.size()) {
    return result;
  }
  for (std::size_t i = 1; i < result.clusters.size(); ++i) {
    const auto& ranks = result.clusters[i].ranks;
    result.outliers.insert(result.outliers.end(), ranks.begin(), ranks.end());
  }
  std::ranges::sort(result.outliers);
  result.shared = SmallestWithAll(result.outliers, communicators);
  return result;
}

}  // namespace steadyrun
