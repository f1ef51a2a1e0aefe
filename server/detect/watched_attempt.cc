#include "server/detect/watched_attempt.h"

#include <spdlog/fmt/fmt.h>

namespace steadyrun {

std::string RankOnNode(Rank rank, const NodeId& node) {
  if (node.empty()) return fmt::format("rank {}", rank.value);
  return fmt::format("rank {} on {}", rank.value, node);
}

Finding MakeFinding(IncidentKind kind, const WatchedAttempt& attempt,
                    Now onset) {
  Finding finding;
  finding.kind = kind;
  finding.run = attempt.run;
  finding.attempt = attempt.attempt;
  finding.onset = onset;
  return finding;
}

std::string HumanSeconds(Duration duration) {
  const double seconds = ToSeconds(duration);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 600) return fmt::format("{:.1f} s", seconds);
  return fmt::format("{:.1f} min", seconds / 60);
}

}  // namespace steadyrun
