#pragma once

// Tells a lost node from a lost agent, and both from our own deafness.
//
// Intuition: a silent node proves nothing; its agent may have died, or the
// network to us. What counts is whether the training goes on without it.
//
// Model. A node of the run is silent after `silent_after` without a word; h is
// when it was last heard, w = max(witness_minimum, witness_steps x the longer
// of the median and the last few steps), "the others" are the ranks on nodes
// that are not silent.
//   more than mass_share of the run's nodes are silent -> mass silence:
//     nothing is judged; page after mass_page. The network, or this service.
//   a rank exited on another node                      -> node_lost
//   the others stopped with it: last advance by h + w, quiet for w (to the
//     last word of theirs, not to now), none in a declared long phase
//                                                      -> node_lost
//   the others have been quiet for the hang deadline   -> node_lost
//   no rank ever stepped and silent for `starting`     -> node_lost
//   the others went on beyond h + w                    -> agent_lost, a
//     warning; from then on a short pause of the run is no witness any more
//   there are no others, or all their ranks have ended well (the run is at
//     its end): node_lost after `alone`, unless most of the fleet fell silent
//     too
//   nothing within `settle` of a start, stall or storage trouble.
// A node heard again clears agent_lost; node_lost only if the run advances
// again as well (which a run that is acted on never does: it is stopped).
//
// Fixed timeout, not phi-accrual: at a heartbeat of 0.5 s and a limit of 5 s
// there is no room for adaptation between "six missed" and the limit, and the
// false alarms of phi (8.6 a day at 1,000 nodes for phi = 8, more with the
// heavy tails of busy machines) need a second witness anyway. The witness
// carries the specificity; the timeout only bounds the wait.
//
// Node loss is found about silent_after + one tick, 3.1 s, after the last
// heartbeat for steps up to 1.5 s; with longer steps after twice the step.

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/detect/node_hearing.h"
#include "server/detect/options.h"
#include "server/detect/run_progress.h"
#include "server/detect/watched_attempt.h"

namespace steadyrun {

// What else is known when silence is judged.
struct SilenceWitness {
  // Longest usual step: the median, or one of the last few. 0: unknown.
  double step_seconds = 0;
  Duration hang_deadline{};  // HangDetector::DeadlineNow().
  // Nodes on which a rank exited, unasked, in this attempt.
  std::set<NodeId> exits_on;
};

class SilenceDetector {
 public:
  explicit SilenceDetector(const SilenceOptions& options) : options_(options) {}

  void Begin(const WatchedAttempt& attempt);

  // Findings and clearances since the last call, each said once.
  Verdicts Evaluate(const NodeHearing& hearing, const RunProgress& progress,
                    const SilenceWitness& witness, Now now);

  // Nodes found lost are found so again, if it still is so.
  void JudgeAfresh();

  // More than mass_share of the run's nodes are silent now: no automatic
  // action of any kind should begin.
  bool IsMassSilence() const { return mass_since_.has_value(); }
  // What was last heard of some node may be old: see NodeHearing.
  bool IsCatchingUp(const NodeHearing& hearing, MonoTime now) const {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const NodeId& node) {
      return hearing.IsCatchingUp(node, now);
    });
  }
  // True once when mass silence has lasted mass_page: tell a person.
  bool TakeMassPage(MonoTime now);
  // A node_lost was found for it in this attempt.
  bool IsLost(const NodeId& node) const;
  // Its agent is judged lost, and not heard since.
  bool IsAgentLost(const NodeId& node) const;
  // Silent by silent_after right now.
  bool IsSilent(const NodeId& node) const { return silent_.contains(node); }

 private:
  enum class Verdict { kNone, kAgentLost, kNodeLost };
  struct Judged {
    Verdict verdict = Verdict::kNone;
    MonoTime at;
  };
  struct Judgement {
    Verdict verdict = Verdict::kNone;
    MonoTime onset;
    std::string why;
  };

  MonoTime Witnessed(const NodeHearing& hearing, const RunProgress& progress,
                     MonoTime now) const;
  void ClearHeard(const RunProgress& progress, Verdicts* verdicts);
  Judgement Judge(const NodeId& node, const NodeHearing& hearing,
                  const RunProgress& progress, const SilenceWitness& witness,
                  MonoTime now) const;

  SilenceOptions options_;
  WatchedAttempt attempt_;
  std::set<NodeId> nodes_;
  std::set<NodeId> silent_;
  std::map<NodeId, Judged> judged_;
  std::optional<MonoTime> mass_since_;
  bool mass_paged_ = false;
};

}  // namespace steadyrun
