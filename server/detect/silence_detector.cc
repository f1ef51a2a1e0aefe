#include "server/detect/silence_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace steadyrun {
namespace {

// Phases in which ranks work or wait on their own, so that standing still
// says nothing about a peer.
bool IsLongPhase(Phase phase) {
  switch (phase) {
    case Phase::kStartup:
    case Phase::kCheckpoint:
    case Phase::kEvaluation:
    case Phase::kCompile:
    case Phase::kShutdown:
      return true;
    case Phase::kUnspecified:
    case Phase::kStep:
    case Phase::kData:
    case Phase::kForward:
    case Phase::kBackward:
    case Phase::kOptimizer:
    case Phase::kRollout:
    case Phase::kReward:
    case Phase::kReference:
    case Phase::kWeightSync:
    case Phase::kOther:
      return false;
  }
  return false;
}

bool AnyInLongPhase(const RunProgress& progress,
                    const std::set<NodeId>& silent) {
  const auto ranks = progress.Ranks();
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    if (silent.contains(progress.Attempt().rank_nodes[r])) continue;
    if (!ranks[r].is_known || ranks[r].life == RankLife::kExited) continue;
    if (IsLongPhase(ranks[r].phase)) return true;
  }
  return false;
}

bool AnyAlive(const RunProgress& progress, const std::set<NodeId>& silent) {
  const auto ranks = progress.Ranks();
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    if (silent.contains(progress.Attempt().rank_nodes[r])) continue;
    if (ranks[r].life != RankLife::kExited) return true;
  }
  return false;
}

Now BackTo(MonoTime mono, Now now) {
  return {mono,
          now.wall - std::chrono::duration_cast<std::chrono::milliseconds>(
                         now.mono - mono)};
}

}  // namespace

void SilenceDetector::Begin(const WatchedAttempt& attempt) {
  attempt_ = attempt;
  nodes_ = {attempt.rank_nodes.begin(), attempt.rank_nodes.end()};
  silent_.clear();
  judged_.clear();
  mass_since_.reset();
  mass_paged_ = false;
}

void SilenceDetector::JudgeAfresh() {
  std::erase_if(judged_, [](const auto& judged) {
    return judged.second.verdict == Verdict::kNodeLost;
  });
}

bool SilenceDetector::IsLost(const NodeId& node) const {
  const auto judged = judged_.find(node);
  return judged != judged_.end() &&
         judged->second.verdict == Verdict::kNodeLost;
}

bool SilenceDetector::IsAgentLost(const NodeId& node) const {
  const auto judged = judged_.find(node);
  return judged != judged_.end() &&
         judged->second.verdict == Verdict::kAgentLost;
}

bool SilenceDetector::TakeMassPage(MonoTime now) {
  if (!mass_since_.has_value() || mass_paged_ ||
      now - *mass_since_ < options_.mass_page) {
    return false;
  }
  mass_paged_ = true;
  return true;
}

void SilenceDetector::ClearHeard(const RunProgress& progress,
                                 Verdicts* verdicts) {
  for (auto it = judged_.begin(); it != judged_.end();) {
    const auto& [node, judged] = *it;
    const bool is_agent = judged.verdict == Verdict::kAgentLost;
    if (silent_.contains(node) ||
        (!is_agent && progress.LastAdvance() <= judged.at)) {
      ++it;
      continue;
    }
    Clearance clearance;
    clearance.kind =
        is_agent ? IncidentKind::kAgentLost : IncidentKind::kNodeLost;
    clearance.run = attempt_.run;
    clearance.culprit.node = node;
    clearance.reason = fmt::format("{} is heard again", node);
    verdicts->cleared.push_back(std::move(clearance));
    it = judged_.erase(it);
  }
}

Verdicts SilenceDetector::Evaluate(const NodeHearing& hearing,
                                   const RunProgress& progress,
                                   const SilenceWitness& witness, Now now) {
  Verdicts verdicts;
  silent_.clear();
  for (const NodeId& node : nodes_) {
    if (hearing.Silence(node, now.mono) >= options_.silent_after) {
      silent_.insert(node);
    }
  }
  ClearHeard(progress, &verdicts);
  const bool is_mass =
      nodes_.size() > 1 &&
      static_cast<double>(silent_.size()) >
          options_.mass_share * static_cast<double>(nodes_.size());
  if (!is_mass) {
    mass_since_.reset();
    mass_paged_ = false;
  } else if (!mass_since_.has_value()) {
    mass_since_ = now.mono;
  }
  if (is_mass || now.mono - hearing.SettlingSince() < options_.settle) {
    return verdicts;
  }
  for (const NodeId& node : silent_) {
    const Verdict before =
        judged_.contains(node) ? judged_[node].verdict : Verdict::kNone;
    const Judgement judgement =
        Judge(node, hearing, progress, witness, now.mono);
    if (before == Verdict::kNodeLost || judgement.verdict == before ||
        judgement.verdict == Verdict::kNone) {
      continue;
    }
    judged_[node] = {judgement.verdict, now.mono};
    const bool is_lost = judgement.verdict == Verdict::kNodeLost;
    Finding finding = MakeFinding(
        is_lost ? IncidentKind::kNodeLost : IncidentKind::kAgentLost, attempt_,
        BackTo(judgement.onset, now));
    finding.culprit.node = node;
    finding.step = progress.MaxStep();
    finding.severity = is_lost ? Severity::kCritical : Severity::kWarning;
    finding.is_independent = is_lost;
    const std::string silence = HumanSeconds(hearing.Silence(node, now.mono));
    finding.reason =
        is_lost ? fmt::format("Node {} is lost: silent for {}, and {}.", node,
                              silence, judgement.why)
                : fmt::format("The agent on {} is silent for {}, but {}.", node,
                              silence, judgement.why);
    finding.evidence = {
        fmt::format("{}: last heard {} ago, connection {}", node, silence,
                    hearing.IsConnected(node) ? "open" : "closed"),
        judgement.why,
        fmt::format("{} of {} nodes of the run are silent", silent_.size(),
                    nodes_.size())};
    finding.signature = std::string(IncidentKindName(finding.kind));
    verdicts.findings.push_back(std::move(finding));
  }
  return verdicts;
}

// Until when some node that is heard has told that its ranks stand still. A
// witness that has fallen silent itself has seen nothing since: when many nodes
// are cut off at once, their silences come up one after the other. And only a
// heartbeat tells where ranks stand; other messages may come before it.
MonoTime SilenceDetector::Witnessed(const NodeHearing& hearing,
                                    const RunProgress& progress,
                                    MonoTime now) const {
  std::set<NodeId> witnesses;
  for (const NodeId& node : nodes_) {
    if (!silent_.contains(node) && !hearing.IsCatchingUp(node, now) &&
        hearing.Silence(node, now) <= NodeHearing::kGap) {
      witnesses.insert(node);
    }
  }
  MonoTime witnessed = MonoTime::min();
  for (std::size_t rank = 0; rank < attempt_.rank_nodes.size(); ++rank) {
    if (!witnesses.contains(attempt_.rank_nodes[rank])) continue;
    const RankProgress& told = progress.Ranks()[rank];
    if (told.is_known) witnessed = std::max(witnessed, told.heard);
  }
  return witnessed;
}

SilenceDetector::Judgement SilenceDetector::Judge(const NodeId& node,
                                                  const NodeHearing& hearing,
                                                  const RunProgress& progress,
                                                  const SilenceWitness& witness,
                                                  MonoTime now) const {
  const MonoTime heard = hearing.LastHeard(node);
  const Duration silence = now - heard;
  for (const NodeId& exited : witness.exits_on) {
    if (exited == node) continue;
    return {Verdict::kNodeLost, heard,
            fmt::format("ranks on {} ended", exited)};
  }
  const std::optional<MonoTime> last = progress.LastAdvanceOutside(silent_);
  // A rank that ended is no witness: a bad end was seen above, and after a
  // good one the run may be complete on the silent node as well.
  if (!last.has_value() || !AnyAlive(progress, silent_)) {
    if (silence < options_.alone ||
        hearing.SilentShare(options_.silent_after, now) > options_.mass_share) {
      return {};
    }
    return {Verdict::kNodeLost, heard, "no other node of the run can tell"};
  }
  const Duration quiet =
      std::max(*last, Witnessed(hearing, progress, now)) - *last;
  const std::string standstill = fmt::format(
      "the ranks on other nodes have not advanced for {}", HumanSeconds(quiet));
  const bool has_stepped = progress.MaxStep() != kNoStep;
  const Duration window =
      std::max(options_.witness_minimum,
               FromSeconds(options_.witness_steps * witness.step_seconds));
  if (has_stepped && witness.step_seconds > 0 && *last <= heard + window &&
      quiet >= window && !AnyInLongPhase(progress, silent_)) {
    return {Verdict::kNodeLost, heard, standstill};
  }
  if (witness.hang_deadline > Duration::zero() &&
      quiet >= witness.hang_deadline) {
    return {Verdict::kNodeLost, *last, standstill};
  }
  if (!has_stepped) {
    if (silence < options_.starting) return {};
    return {Verdict::kNodeLost, heard, "no rank has made a step yet"};
  }
  if (*last > heard + window) {
    return {Verdict::kAgentLost, heard,
            fmt::format("the run went on without it, to step {}",
                        progress.MaxStep().value)};
  }
  return {};
}

}  // namespace steadyrun
