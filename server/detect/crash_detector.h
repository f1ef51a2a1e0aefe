#pragma once

// Collects how the ranks of an attempt ended and names the first cause.
//
// Intuition: one rank dies, and within milliseconds its peers die of lost
// connections. All of them exit; only one is the story.
//
// Model. An exit that nobody ordered is a stable predicate, so the first one
// is a finding at once; who is to blame is provisional until all nodes are
// proved stopped and no more evidence can come. Candidates are ordered by
//   1 class: primary (a signal, an exception that is no peer error), unknown
//     (seen in a heartbeat before its report), early (code 0 before the last
//     step), secondary (the agent saw a peer error in its last words)
//   2 arrival at the server; within one message the node's own exit times
//   3 step, rank
// Never by wall clocks of two machines. Only secondary exits: the finding is
// marked as of victims, and a lost node takes its place (incident/).
// O(1) state a rank. Idempotent: a report or heartbeat again changes nothing.

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/options.h"
#include "server/detect/watched_attempt.h"

namespace steadyrun {

class CrashDetector {
 public:
  explicit CrashDetector(const CrashOptions& options) : options_(options) {}

  void Begin(const WatchedAttempt& attempt);

  // A finding when this is the first crash, or changes who is to blame or
  // why. Exits the agent was ordered to make are no evidence.
  // `age`: how long ago it ended, if its node's state told; else zero.
  std::optional<Finding> ObserveExit(const RankExited& exit, Now now,
                                     Duration age = {});
  // The same from a heartbeat, which may be ahead of the report.
  std::optional<Finding> ObserveState(const RankState& state, Now now);
  void ObserveFinished(Rank rank);
  // Ranks that ended early with code 0 while others go on.
  std::optional<Finding> Evaluate(Now now);

  // All evidence is in: the attribution that stands, first. After it, ranks on
  // other nodes that were killed from outside as well: no peer's death does
  // that, so each such node is a fault of its own (at most kMaxIndependent).
  // Empty when no rank crashed. Requires: every node is proved stopped.
  static constexpr std::size_t kMaxIndependent = 8;
  std::vector<Finding> Final() const;

  // A crash was reported in this attempt.
  bool HasCrashed() const { return reported_.has_value(); }
  // Every rank has exited with code 0 after finishing, or reaching the target.
  bool AllEndedWell() const;
  // Nodes with an unasked exit: witnesses for the silence detector.
  std::vector<NodeId> NodesWithExits() const;

 private:
  enum class Class { kPrimary, kUnknown, kEarly, kSecondary };
  struct Exit {
    RankExited report;
    Class type = Class::kUnknown;
    Now at;     // Heard of here.
    Now onset;  // When it ended, as far as its node says.
    bool has_report = false;
    bool ended_well = false;
  };

  std::optional<Finding> Take(Exit exit);
  const Exit* FirstCause() const;
  // Whether `left` is likelier than `right` to be the first cause.
  bool IsBefore(const Exit& left, const Exit& right) const;
  bool IsCandidate(const Exit& exit) const;
  Class Classify(const RankExited& exit, bool has_report) const;
  bool EndedWell(const RankExited& exit) const;
  Finding Describe(const Exit& cause, bool is_final) const;

  CrashOptions options_;
  WatchedAttempt attempt_;
  std::vector<std::optional<Exit>> exits_;  // By rank.
  std::vector<bool> finished_;              // By rank.
  std::optional<Finding> reported_;
};

}  // namespace steadyrun
