#include "server/policy/policy.h"

#include <algorithm>
#include <string>

namespace steadyrun {

std::string_view ModeName(Mode mode) {
  switch (mode) {
    case Mode::kObserve:
      return "observe";
    case Mode::kAdvise:
      return "advise";
    case Mode::kAct:
      return "act";
  }
  return "unknown";
}

std::string_view RemedyName(Remedy remedy) {
  switch (remedy) {
    case Remedy::kNone:
      return "none";
    case Remedy::kPage:
      return "page";
    case Remedy::kSave:
      return "save";
    case Remedy::kRestart:
      return "restart";
    case Remedy::kReplaceNode:
      return "replace_node";
    case Remedy::kRollback:
      return "rollback";
    case Remedy::kHalt:
      return "halt";
  }
  return "unknown";
}

bool StopsTheAttempt(Remedy remedy) {
  switch (remedy) {
    case Remedy::kRestart:
    case Remedy::kReplaceNode:
    case Remedy::kRollback:
    case Remedy::kHalt:
      return true;
    case Remedy::kNone:
    case Remedy::kPage:
    case Remedy::kSave:
      return false;
  }
  return false;
}

Policy DefaultPolicy() {
  Policy policy;
  // The first two times on the same nodes: most crashes and hangs are of the
  // process. The third time the node has earned suspicion.
  const std::vector<Remedy> restart = {Remedy::kRestart, Remedy::kRestart,
                                       Remedy::kReplaceNode};
  policy.For(IncidentKind::kCrash).ladder = restart;
  policy.For(IncidentKind::kHang).ladder = restart;
  policy.For(IncidentKind::kStartFailed).ladder = restart;
  policy.For(IncidentKind::kNodeLost).ladder = {Remedy::kReplaceNode};
  policy.For(IncidentKind::kNan).ladder = {Remedy::kRollback};
  // The run goes on without its agent; there is nothing to act on.
  policy.For(IncidentKind::kAgentLost).mode = Mode::kObserve;
  policy.For(IncidentKind::kAgentLost).ladder = {Remedy::kNone};
  policy.For(IncidentKind::kCheckpointBad).ladder = {Remedy::kSave};
  policy.For(IncidentKind::kCheckpointOverdue).ladder = {Remedy::kSave};
  policy.For(IncidentKind::kStorage).ladder = {Remedy::kPage};
  // Judgements about the training itself: a person decides.
  for (std::size_t i = 0; i < kIncidentKinds; ++i) {
    const auto kind = static_cast<IncidentKind>(i);
    if (!IsTrainingKind(kind)) continue;
    policy.For(kind).mode = Mode::kAdvise;
    policy.For(kind).ladder = {Remedy::kPage};
  }
  policy.For(IncidentKind::kStraggler).ladder = {Remedy::kReplaceNode};
  policy.For(IncidentKind::kLossSpike).ladder = {Remedy::kRollback};
  policy.For(IncidentKind::kDivergence).ladder = {Remedy::kRollback};
  policy.For(IncidentKind::kCorruption).ladder = {Remedy::kRollback};
  return policy;
}

Policy ObserveOnly(Policy policy) {
  for (KindPolicy& kind : policy.kinds) kind.mode = Mode::kObserve;
  return policy;
}

std::string DescribeMode(const Policy& policy) {
  constexpr IncidentKind kEnding[] = {IncidentKind::kCrash, IncidentKind::kHang,
                                      IncidentKind::kNodeLost};
  std::string text;
  for (const Mode mode : {Mode::kAct, Mode::kAdvise, Mode::kObserve}) {
    std::string kinds;
    bool is_all = true;
    for (const IncidentKind kind : kEnding) {
      if (policy.For(kind).mode != mode) {
        is_all = false;
        continue;
      }
      kinds +=
          (kinds.empty() ? "" : ", ") + std::string(IncidentKindName(kind));
    }
    if (is_all) return std::string(ModeName(mode));
    if (kinds.empty()) continue;
    text +=
        (text.empty() ? "" : "; ") + std::string(ModeName(mode)) + ": " + kinds;
  }
  return text;
}

Remedy RungOf(const KindPolicy& kind, std::int32_t failures) {
  if (kind.ladder.empty()) return Remedy::kNone;
  const auto last = static_cast<std::int32_t>(kind.ladder.size()) - 1;
  return kind.ladder[static_cast<std::size_t>(std::clamp(failures, 0, last))];
}

Remedy FirstRemedy(const Policy& policy, IncidentKind kind, Advice advice) {
  const Remedy rung = RungOf(policy.For(kind), 0);
  if (!IsTrainingKind(kind)) return rung;
  if (advice == Advice::kRecord) return Remedy::kNone;
  if (!StopsTheAttempt(rung)) return rung;
  if (advice == Advice::kReport) return Remedy::kPage;
  return advice == Advice::kHalt ? Remedy::kHalt : rung;
}

}  // namespace steadyrun
