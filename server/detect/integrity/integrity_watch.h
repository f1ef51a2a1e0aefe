#pragma once

// Silent data corruption: values that must be equal on several ranks and are
// not, and gradients that stand out before they are averaged.
//
//   IntegrityWatch watch(options, layout);
//   watch.Begin(attempt, now);               // at each Start
//   watch.ObserveRow(row, now, &verdicts);   // each closed row
//
// Model, by named metrics, at every row that holds them:
//   hash/<what>/lo, hash/<what>/hi   48 bits of a hash of the rank's shard, 24
//       in each (whole numbers below 2^24 are exact in a float32): what
//       steadyrun.parameter_hash() makes. All ranks with the same shard must
//       agree. Of three or more that vote the majority is right, and the others
//       are named; of two, corruption is found and nobody named.
//   equal/<what>   a scalar that must be the same to the bit on every rank
//       that reports it (the loss after its all-reduce).
//   local_grad_norm   local_norm_detector.h.
//
// Advice for hashes: roll back to a checkpoint before the first step after the
// last vote that was unanimous (the first step seen, if none was): what was
// saved since may hold the wrong parameters, or what they did to the others.
//
// Hashes that never agreed on any shard are no evidence of corruption but of a
// layout that is missing, or of sharded states: said once, as a warning that
// nothing is judged.
//
// Invisible: corruption before the gradients' all-reduce reaches all replicas
// alike, so votes cannot see it; see local_norm_detector.h for what the norm
// can. Non-deterministic optimizers make replicas differ without a fault.
//
// O(ranks) a row, about 60 bytes a rank. At most kMaxWhats different values; a
// run can name no more. One thread; pure.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "server/detect/integrity/local_norm_detector.h"
#include "server/detect/integrity/options.h"
#include "server/detect/integrity/replica_vote.h"
#include "server/detect/watched_attempt.h"
#include "server/model/parallel_layout.h"
#include "server/model/step_row.h"

namespace steadyrun {

class IntegrityWatch {
 public:
  static constexpr std::size_t kMaxWhats = kMaxNamedMetrics;

  IntegrityWatch(const IntegrityOptions& options, const ParallelLayout& layout)
      : layout_(layout), norms_(options) {}

  void Begin(const WatchedAttempt& attempt, Now now);
  // Appends to `verdicts`. Rows of other attempts are ignored.
  void ObserveRow(const StepRow& row, Now now, Verdicts* verdicts);

  const std::string& LayoutNote() const { return places_.Note(); }
  std::size_t StateBytes() const;

 private:
  // The story of one value that is voted on.
  struct Ballot {
    Step last_unanimous = kNoStep;
    bool has_agreed = false;  // In at least one group, once.
    bool is_disputed = false;
    bool is_incomparable_told = false;
    std::vector<std::size_t> told;  // Of the dispute that is open.
  };

  void VoteOnHash(std::string_view what, std::span<const float> low,
                  std::span<const float> high, const StepRow& row, Now now,
                  Verdicts* verdicts);
  void VoteOnScalar(std::string_view what, std::span<const float> values,
                    const StepRow& row, Now now, Verdicts* verdicts);
  // The ballot of `key`; null beyond kMaxWhats.
  Ballot* BallotOf(const std::string& key);
  // What is new in the result; nothing: it was told before, or all agree.
  std::vector<std::size_t> TakeDispute(Ballot& ballot, const VoteResult& result,
                                       Step step);
  Finding DescribeVote(std::string_view what, const VoteResult& result,
                       bool is_hash, const Ballot& ballot, const StepRow& row,
                       Now now) const;
  Finding DescribeIncomparable(std::string_view what, const VoteResult& result,
                               const StepRow& row, Now now) const;
  void ObserveNorms(std::span<const float> norms, const StepRow& row, Now now,
                    Verdicts* verdicts);
  void Blame(const std::vector<std::size_t>& ranks, Finding* finding) const;
  void ClearIfOver(Verdicts* verdicts);

  ParallelLayout layout_;
  WatchedAttempt attempt_;
  RankPlaces places_;
  LocalNormDetector norms_;
  ReplicaVote by_shard_;
  ReplicaVote of_all_;
  std::vector<std::uint64_t> values_;  // Scratch, by rank.
  std::map<std::string, Ballot, std::less<>> ballots_;
  Step first_ = kNoStep;
  bool is_told_ = false;
};

}  // namespace steadyrun
