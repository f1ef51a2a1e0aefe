#include "server/detect/storage_detector.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace steadyrun {

void StorageDetector::Observe(const NodeState& state, Now now,
                              Verdicts* verdicts) {
  // Nothing new: before the search, which costs O(ranks) at each heartbeat.
  if (state.spool_full == full_.contains(state.node)) return;
  if (std::ranges::find(attempt_.rank_nodes, state.node) ==
      attempt_.rank_nodes.end()) {
    return;
  }
  if (state.spool_full && full_.insert(state.node).second) {
    Finding finding = MakeFinding(IncidentKind::kStorage, attempt_, now);
    finding.culprit.node = state.node;
    finding.severity = Severity::kWarning;
    finding.reason = fmt::format(
        "The agent on {} cannot write its spool: step reports are thinned, "
        "training goes on.",
        state.node);
    finding.evidence = {
        fmt::format("{} reports wait in the spool, {} were dropped so far",
                    state.spooled_reports, state.dropped_reports)};
    finding.signature = "storage spool";
    verdicts->findings.push_back(std::move(finding));
  } else if (!state.spool_full && full_.erase(state.node) > 0) {
    Clearance clearance;
    clearance.kind = IncidentKind::kStorage;
    clearance.run = attempt_.run;
    clearance.culprit.node = state.node;
    clearance.reason = fmt::format(
        "the agent on {} writes its spool again; {} reports were dropped",
        state.node, state.dropped_reports);
    verdicts->cleared.push_back(std::move(clearance));
  }
}

Finding StorageFinding(const WatchedAttempt& attempt, const std::string& error,
                       Now now) {
  Finding finding = MakeFinding(IncidentKind::kStorage, attempt, now);
  finding.reason = fmt::format(
      "The service cannot write its database: {}. No action is taken until it "
      "can; training goes on.",
      error);
  finding.evidence = {error};
  finding.signature = "storage database";
  return finding;
}

}  // namespace steadyrun
