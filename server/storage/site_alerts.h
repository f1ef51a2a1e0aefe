#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/ids.h"

namespace steadyrun {

// An alert of the site around the runs: fabric, storage, power.
struct SiteAlert {
  std::string fingerprint;  // Equal for equal labels.
  std::string name;
  std::string severity;
  RunId run;    // Empty: of no run in particular.
  NodeId node;  // Empty: of no node in particular.
  WallTime starts;
  WallTime ends;  // Epoch: still firing.
  std::string text;
};

struct SiteAlertQuery {
  RunId run;
  std::set<NodeId> nodes;
  WallTime from;  // Firing at some time between.
  WallTime to;
};

// Alerts that somebody posted: shown beside incidents, never acted upon.
// Thread-safe. Errors as in Store.
class SiteAlerts {
 public:
  virtual ~SiteAlerts() = default;
  // Newer states replace older ones of the same fingerprint. Beyond kMaxStored
  // the oldest go.
  virtual absl::Status Save(const std::vector<SiteAlert>& alerts) = 0;
  // Of the run or of one of the nodes; at most kMaxFound, newest first.
  virtual absl::StatusOr<std::vector<SiteAlert>> Find(
      const SiteAlertQuery& query) = 0;

  static constexpr int kMaxStored = 10'000;
  static constexpr std::size_t kMaxFound = 10;
};

}  // namespace steadyrun
