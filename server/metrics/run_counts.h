#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "server/engine/effect.h"
#include "server/engine/view.h"
#include "server/metrics/family_list.h"

namespace steadyrun {

// What is counted about runs from committed changes, and the series made of it
// and of the live view. Labels: run, and words of fixed sets. Not thread-safe.
class RunCounts {
 public:
  // An incident as it was committed, or loaded (`is_new` false: it was counted
  // in an earlier life of the service).
  void Observe(const Incident& incident, bool is_new = true);
  void Observe(const Checkpoint& checkpoint);
  void Observe(const StepRow& row);

  // Runs that ended more than kKeepEnded ago, or are unknown, get no series
  // and are forgotten.
  void Write(const EngineView& view, WallTime now, FamilyList* list);
  static constexpr Duration kKeepEnded = std::chrono::minutes(10);

 private:
  struct Counts {
    std::int64_t newest_incident = 0;
    std::map<std::pair<IncidentKind, Severity>, std::uint64_t> incidents;
    std::map<std::int64_t, Severity> open;  // By number.
    Step checkpoint_step = kNoStep;
    WallTime checkpoint_saved;
    WallTime last_step_at;
    double max_over_median = 0;
    std::int32_t slowest_rank = -1;
    std::uint64_t nonfinite_loss = 0;
    std::uint64_t nonfinite_grad_norm = 0;
    double tokens = 0;
    // From a small model's step to one of a trillion parameters.
    BucketCounts step_seconds{
        {0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 20, 40, 80, 160}};
  };
  using Shown = std::vector<std::pair<const RunView*, const Counts*>>;

  void Forget(const std::map<RunId, const RunView*>& shown);
  static void WriteState(const Shown& runs, FamilyList* list);
  static void WriteSteps(const Shown& runs, FamilyList* list);
  static void WriteRecovery(const Shown& runs, FamilyList* list);
  void WriteIncidents(const Shown& runs, FamilyList* list);

  std::map<RunId, Counts> runs_;
  // By kind: how long faults took to be noticed and to be mended.
  std::map<IncidentKind, BucketCounts> detection_;
  std::map<IncidentKind, BucketCounts> recovery_;
};

}  // namespace steadyrun
