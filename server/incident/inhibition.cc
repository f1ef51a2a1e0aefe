#include "server/incident/inhibition.h"

#include <array>

namespace steadyrun {
namespace {

// A node's silence is dated by its last heartbeat, the exit of its peers by
// their arrival: both err by about a heartbeat.
constexpr Duration kOnsetSlack = std::chrono::seconds(1);

enum class Rule {
  kSame,
  kVictim,
  kVictimUnlessIndependent,
  kAttribute,
  kExplains,
  kPoisons,
  kAnother,
};

constexpr std::size_t kEnding = 5;

std::size_t Index(IncidentKind kind) {
  switch (kind) {
    case IncidentKind::kCrash:
      return 0;
    case IncidentKind::kHang:
      return 1;
    case IncidentKind::kNodeLost:
      return 2;
    case IncidentKind::kNan:
      return 3;
    case IncidentKind::kStartFailed:
      return 4;
    case IncidentKind::kAgentLost:
    case IncidentKind::kCheckpointBad:
    case IncidentKind::kCheckpointOverdue:
    case IncidentKind::kStorage:
      return kEnding;
    default:  // Training kinds.
      return kEnding;
  }
}

using enum Rule;
// kRules[new][open], in the order of Index().
constexpr std::array<std::array<Rule, kEnding>, kEnding> kRules = {{
    {kAttribute, kVictimUnlessIndependent, kVictimUnlessIndependent,
     kVictimUnlessIndependent, kVictimUnlessIndependent},
    {kVictim, kSame, kVictim, kVictim, kVictim},
    {kExplains, kExplains, kAnother, kAnother, kExplains},
    {kPoisons, kAnother, kAnother, kSame, kAnother},
    {kVictim, kVictim, kVictim, kVictim, kSame},
}};

bool OnOtherNode(const OpenCause& open, const Finding& finding) {
  return !open.culprit.node.empty() && !finding.culprit.node.empty() &&
         open.culprit.node != finding.culprit.node;
}

Relation RelateCrashes(const OpenCause& open, const Finding& finding) {
  if (open.culprit == finding.culprit) return Relation::kSameCause;
  if (open.is_provisional) return Relation::kBetterCause;
  return finding.is_independent && OnOtherNode(open, finding)
             ? Relation::kIndependent
             : Relation::kVictim;
}

Relation Explains(const OpenCause& open, const Finding& finding) {
  const bool is_same_place = !OnOtherNode(open, finding);
  const bool was_first = finding.onset.mono <= open.onset + kOnsetSlack;
  return is_same_place || open.is_victim || (was_first && !open.is_independent)
             ? Relation::kBetterCause
             : Relation::kIndependent;
}

Relation Poisons(const OpenCause& open, const Finding& finding) {
  // The exit's step is the last completed one: the assertion may come before
  // the bad step counts as completed.
  return !open.is_independent && open.step.value >= finding.step.value - 1
             ? Relation::kBetterCause
             : Relation::kIndependent;
}

// Whether `cause` makes `effect` happen; the table in the header.
bool Causes(IncidentKind cause, IncidentKind effect) {
  using K = IncidentKind;
  switch (cause) {
    case K::kNan:
      return effect == K::kLossSpike || effect == K::kGradExplosion ||
             effect == K::kLossScale || effect == K::kDivergence;
    case K::kLossSpike:
      return effect == K::kGradExplosion;
    case K::kDivergence:
      return effect == K::kLossSpike || effect == K::kGradExplosion;
    case K::kStraggler:
    case K::kDataStall:
    case K::kGenerationStall:
      return effect == K::kSlowdown;
    case K::kRolloutMismatch:
      return effect == K::kKlBlowup;
    case K::kRewardHacking:
      return effect == K::kKlBlowup || effect == K::kLengthExplosion;
    default:
      return false;
  }
}

Relation RelateTraining(const OpenCause& open, const Finding& finding) {
  if (open.attempt != finding.attempt) return Relation::kIndependent;
  if (open.kind == finding.kind) {
    return OnOtherNode(open, finding) || open.culprit != finding.culprit
               ? Relation::kIndependent
               : Relation::kSameCause;
  }
  if (Causes(finding.kind, open.kind)) return Relation::kBetterCause;
  if (Causes(open.kind, finding.kind)) return Relation::kVictim;
  return Relation::kIndependent;
}

Relation RelateConditions(const OpenCause& open, const Finding& finding) {
  if (IsTrainingKind(open.kind) || IsTrainingKind(finding.kind)) {
    return RelateTraining(open, finding);
  }
  const bool is_same_node = open.culprit.node == finding.culprit.node;
  if (open.kind == IncidentKind::kAgentLost &&
      finding.kind == IncidentKind::kNodeLost && is_same_node) {
    return Relation::kBetterCause;
  }
  if (open.kind == IncidentKind::kNodeLost &&
      finding.kind == IncidentKind::kAgentLost && is_same_node) {
    return Relation::kVictim;
  }
  if (open.kind != finding.kind) return Relation::kIndependent;
  if (open.kind == IncidentKind::kCheckpointBad) {
    return open.step == finding.step ? Relation::kSameCause
                                     : Relation::kIndependent;
  }
  return is_same_node ? Relation::kSameCause : Relation::kIndependent;
}

}  // namespace

bool EndsAttempt(IncidentKind kind) { return Index(kind) < kEnding; }

bool EndsAttempt(const Incident& incident) {
  return EndsAttempt(incident.kind) || incident.advice > Advice::kReport;
}

Relation Relate(const OpenCause& open, const Finding& finding) {
  if (!EndsAttempt(open.kind) || !EndsAttempt(finding.kind)) {
    return RelateConditions(open, finding);
  }
  if (open.attempt != finding.attempt) return Relation::kIndependent;
  switch (kRules[Index(finding.kind)][Index(open.kind)]) {
    case kSame:
      return Relation::kSameCause;
    case kVictim:
      return Relation::kVictim;
    case kVictimUnlessIndependent:
      return finding.is_independent && OnOtherNode(open, finding)
                 ? Relation::kIndependent
                 : Relation::kVictim;
    case kAttribute:
      return RelateCrashes(open, finding);
    case kExplains:
      return Explains(open, finding);
    case kPoisons:
      return Poisons(open, finding);
    case kAnother:
      return open.kind == finding.kind && !OnOtherNode(open, finding)
                 ? Relation::kSameCause
                 : Relation::kIndependent;
  }
  return Relation::kIndependent;
}

}  // namespace steadyrun
