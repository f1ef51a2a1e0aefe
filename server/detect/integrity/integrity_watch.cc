#include "server/detect/integrity/integrity_watch.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <optional>
#include <utility>

#include "server/model/row_columns.h"

namespace steadyrun {
namespace {

constexpr std::string_view kHash = "hash/";
constexpr std::string_view kLow = "/lo";
constexpr std::string_view kHigh = "/hi";
constexpr std::string_view kEqual = "equal/";
constexpr std::string_view kLocalNorm = "local_grad_norm";
constexpr float kHalfHash = 1 << 24;
constexpr std::size_t kMaxLines = 8;

std::uint64_t JoinHash(float low, float high) {
  const auto is_half = [](float value) {
    return value >= 0 && value < kHalfHash &&
           value == static_cast<float>(static_cast<std::uint32_t>(value));
  };
  // Not reported, or not what it should be: no vote.
  if (!is_half(low) || !is_half(high)) return kNoVote;
  return static_cast<std::uint64_t>(high) << 24U |
         static_cast<std::uint64_t>(low);
}

// <what> of hash/<what>/lo.
std::optional<std::string_view> HashName(std::string_view name) {
  if (!name.starts_with(kHash) || !name.ends_with(kLow) ||
      name.size() <= kHash.size() + kLow.size()) {
    return std::nullopt;
  }
  return name.substr(kHash.size(), name.size() - kHash.size() - kLow.size());
}

}  // namespace

void IntegrityWatch::Begin(const WatchedAttempt& attempt, Now) {
  attempt_ = attempt;
  const std::size_t world = attempt.WorldSize();
  places_ = RankPlaces(layout_, world);
  norms_.Begin(places_);
  std::vector<std::uint32_t> shard_of(world);
  for (std::size_t r = 0; r < world; ++r) {
    shard_of[r] = static_cast<std::uint32_t>(places_.ShardOf(r));
  }
  by_shard_.Begin(std::move(shard_of), world == 0 ? 0 : places_.Shards());
  of_all_.Begin(std::vector<std::uint32_t>(world, 0), 1);
  values_.assign(world, kNoVote);
  ballots_.clear();
  first_ = kNoStep;
  is_told_ = false;
}

void IntegrityWatch::ObserveRow(const StepRow& row, Now now,
                                Verdicts* verdicts) {
  if (row.run != attempt_.run || row.attempt != attempt_.attempt ||
      row.world_size <= 0 ||
      static_cast<std::size_t>(row.world_size) != attempt_.WorldSize()) {
    return;
  }
  if (first_ == kNoStep || row.step < first_) first_ = row.step;
  for (std::size_t m = 0; m < row.metrics.size(); ++m) {
    const std::string_view name = RowColumnName(row, m);
    const std::span<const float> column = RowColumnAt(row, m);
    if (name.empty() || column.empty()) continue;
    if (const auto what = HashName(name)) {
      const std::string high = fmt::format("{}{}{}", kHash, *what, kHigh);
      VoteOnHash(*what, column, RowColumn(row, high), row, now, verdicts);
    } else if (name.starts_with(kEqual)) {
      VoteOnScalar(name.substr(kEqual.size()), column, row, now, verdicts);
    } else if (name == kLocalNorm) {
      ObserveNorms(column, row, now, verdicts);
    }
  }
  ClearIfOver(verdicts);
}

IntegrityWatch::Ballot* IntegrityWatch::BallotOf(const std::string& key) {
  const auto found = ballots_.find(key);
  if (found != ballots_.end()) return &found->second;
  if (ballots_.size() >= kMaxWhats) return nullptr;
  return &ballots_[key];
}

std::vector<std::size_t> IntegrityWatch::TakeDispute(Ballot& ballot,
                                                     const VoteResult& result,
                                                     Step step) {
  if (result.agreeing_groups > 0) ballot.has_agreed = true;
  if (result.groups == 0) return {};
  if (result.IsUnanimous()) {
    ballot.last_unanimous = std::max(ballot.last_unanimous, step);
    ballot.is_disputed = false;
    ballot.told.clear();
    return {};
  }
  ballot.is_disputed = true;
  std::vector<std::size_t> ranks = result.dissenters;
  ranks.insert(ranks.end(), result.undecided.begin(), result.undecided.end());
  std::ranges::sort(ranks);
  std::vector<std::size_t> fresh;
  std::ranges::set_difference(ranks, ballot.told, std::back_inserter(fresh));
  if (!fresh.empty()) ballot.told = std::move(ranks);
  return fresh;
}

void IntegrityWatch::VoteOnHash(std::string_view what,
                                std::span<const float> low,
                                std::span<const float> high, const StepRow& row,
                                Now now, Verdicts* verdicts) {
  Ballot* ballot = BallotOf(fmt::format("hash {}", what));
  if (ballot == nullptr || high.size() != low.size()) return;
  for (std::size_t r = 0; r < low.size(); ++r) {
    values_[r] = JoinHash(low[r], high[r]);
  }
  const VoteResult result = by_shard_.Count(values_);
  const auto fresh = TakeDispute(*ballot, result, row.step);
  if (ballot->is_disputed && !ballot->has_agreed && result.dissenters.empty()) {
    ballot->is_disputed = false;
    if (std::exchange(ballot->is_incomparable_told, true)) return;
    verdicts->findings.push_back(DescribeIncomparable(what, result, row, now));
    return;
  }
  if (fresh.empty()) return;
  is_told_ = true;
  verdicts->findings.push_back(
      DescribeVote(what, result, /*is_hash=*/true, *ballot, row, now));
}

void IntegrityWatch::VoteOnScalar(std::string_view what,
                                  std::span<const float> values,
                                  const StepRow& row, Now now,
                                  Verdicts* verdicts) {
  Ballot* ballot = BallotOf(fmt::format("equal {}", what));
  if (ballot == nullptr) return;
  for (std::size_t r = 0; r < values.size(); ++r) {
    values_[r] =
        IsAbsent(values[r]) ? kNoVote : std::bit_cast<std::uint32_t>(values[r]);
  }
  const VoteResult result = of_all_.Count(values_);
  if (TakeDispute(*ballot, result, row.step).empty()) return;
  is_told_ = true;
  verdicts->findings.push_back(
      DescribeVote(what, result, /*is_hash=*/false, *ballot, row, now));
}

// Names one rank, or one node; several nodes are a list of suspects.
void IntegrityWatch::Blame(const std::vector<std::size_t>& ranks,
                           Finding* finding) const {
  for (std::size_t i = 0; i < ranks.size() && i < kMaxSuspects; ++i) {
    finding->suspects.push_back(Rank{static_cast<std::int32_t>(ranks[i])});
  }
  const NodeId& node = attempt_.rank_nodes[ranks.front()];
  if (ranks.size() == 1) {
    finding->culprit = {node, finding->suspects.front()};
  } else if (std::ranges::all_of(ranks, [&](std::size_t r) {
               return attempt_.rank_nodes[r] == node;
             })) {
    finding->culprit.node = node;
  }
}

Finding IntegrityWatch::DescribeVote(std::string_view what,
                                     const VoteResult& result, bool is_hash,
                                     const Ballot& ballot, const StepRow& row,
                                     Now now) const {
  Finding finding = MakeFinding(IncidentKind::kCorruption, attempt_, now);
  finding.detector = is_hash ? "replica_vote" : "equal_scalars";
  finding.step = row.step;
  finding.onset_step =
      ballot.last_unanimous == kNoStep ? first_ : ballot.last_unanimous.Next();
  finding.signature =
      fmt::format("corruption {} {}", is_hash ? "hash" : "equal", what);
  if (is_hash) {
    finding.advice = Advice::kRollback;
    finding.rollback.below = finding.onset_step;
  }
  const std::string of = is_hash ? fmt::format("The {} hash", what)
                                 : fmt::format("The value of {}", what);
  const bool is_named = !result.dissenters.empty();
  const std::vector<std::size_t>& ranks =
      is_named ? result.dissenters : result.undecided;
  if (is_named) Blame(ranks, &finding);
  const auto first = static_cast<std::int32_t>(ranks.front());
  if (is_named) {
    finding.reason = fmt::format(
        "{} of {}{} differs from {} at step {}.", of,
        RankOnNode(Rank{first}, attempt_.rank_nodes[ranks.front()]),
        ranks.size() > 1 ? fmt::format(" and {} more", ranks.size() - 1) : "",
        is_hash ? "the majority of its replicas" : "most ranks'",
        row.step.value);
  } else {
    for (std::size_t i = 0; i < ranks.size() && i < kMaxSuspects; ++i) {
      finding.suspects.push_back(Rank{static_cast<std::int32_t>(ranks[i])});
    }
    finding.reason = fmt::format(
        "{} differs among {} ranks that must agree, at step {}; without a "
        "majority of three or more, which one is wrong is unknown.",
        of, ranks.size(), row.step.value);
  }
  for (std::size_t i = 0; i < ranks.size() && i < kMaxLines; ++i) {
    const std::size_t r = ranks[i];
    finding.evidence.push_back(fmt::format(
        "{}: {}",
        RankOnNode(Rank{static_cast<std::int32_t>(r)}, attempt_.rank_nodes[r]),
        is_hash
            ? fmt::format("{:012x}", values_[r])
            : fmt::format("{}", std::bit_cast<float>(
                                    static_cast<std::uint32_t>(values_[r])))));
  }
  if (ranks.size() > kMaxLines) {
    finding.evidence.push_back(
        fmt::format("and {} more ranks", ranks.size() - kMaxLines));
  }
  finding.evidence.push_back(
      fmt::format("{} of {} groups agree, {} ranks voted",
                  result.agreeing_groups, result.groups, result.voters));
  finding.evidence.push_back(
      ballot.last_unanimous == kNoStep
          ? "no vote of this attempt was unanimous before"
          : fmt::format("all agreed at step {}", ballot.last_unanimous.value));
  if (!places_.Note().empty()) finding.evidence.push_back(places_.Note());
  return finding;
}

Finding IntegrityWatch::DescribeIncomparable(std::string_view what,
                                             const VoteResult& result,
                                             const StepRow& row,
                                             Now now) const {
  Finding finding = MakeFinding(IncidentKind::kCorruption, attempt_, now);
  finding.detector = "replica_vote";
  finding.severity = Severity::kWarning;
  finding.step = row.step;
  finding.onset_step = row.step;
  finding.signature = fmt::format("corruption incomparable {}", what);
  finding.reason = fmt::format(
      "The {} hashes of ranks that should be replicas have never agreed, so "
      "they are not judged: give the run's layout (tensor, pipeline, expert "
      "sizes), or hash only what is replicated.",
      what);
  finding.evidence.push_back(fmt::format(
      "{} ranks voted in {} groups of replicas", result.voters, result.groups));
  if (!places_.Note().empty()) finding.evidence.push_back(places_.Note());
  return finding;
}

void IntegrityWatch::ObserveNorms(std::span<const float> norms,
                                  const StepRow& row, Now now,
                                  Verdicts* verdicts) {
  const std::vector<std::size_t> ranks = norms_.Observe(norms);
  if (ranks.empty()) return;
  is_told_ = true;
  Finding finding = MakeFinding(IncidentKind::kCorruption, attempt_, now);
  finding.detector = "local_norm";
  finding.severity = Severity::kWarning;
  finding.step = row.step;
  finding.onset_step = row.step;
  finding.signature = "corruption local_norm";
  Blame(ranks, &finding);
  finding.reason = fmt::format(
      "The gradient norm of {}{} before the all-reduce is {:.3g} times its "
      "peers' at step {}, in {} of the last 10 rows: its device may compute "
      "wrongly.",
      RankOnNode(Rank{static_cast<std::int32_t>(ranks.front())},
                 attempt_.rank_nodes[ranks.front()]),
      ranks.size() > 1 ? fmt::format(" and {} more", ranks.size() - 1) : "",
      norms_.RatioOf(ranks.front()), row.step.value,
      norms_.HitsOf(ranks.front()));
  finding.evidence.push_back(
      fmt::format("healthy ranks spread by {:.2f} %", 100 * norms_.Sigma()));
  verdicts->findings.push_back(std::move(finding));
}

void IntegrityWatch::ClearIfOver(Verdicts* verdicts) {
  if (!is_told_ || norms_.Suspected() > 0) return;
  for (const auto& [key, ballot] : ballots_) {
    if (ballot.is_disputed) return;
  }
  is_told_ = false;
  Clearance clearance;
  clearance.kind = IncidentKind::kCorruption;
  clearance.run = attempt_.run;
  clearance.reason = "all values that must be equal are equal again";
  verdicts->cleared.push_back(std::move(clearance));
}

std::size_t IntegrityWatch::StateBytes() const {
  std::size_t names = attempt_.rank_nodes.capacity() * sizeof(NodeId);
  for (const NodeId& node : attempt_.rank_nodes) {
    if (node.capacity() > NodeId().capacity()) names += node.capacity() + 1;
  }
  return names + norms_.StateBytes() + by_shard_.StateBytes() +
         of_all_.StateBytes() + values_.capacity() * sizeof(std::uint64_t);
}

}  // namespace steadyrun
