#pragma once

// One simulated run judged by the service's own detectors, in process and on
// simulated time: generator -> rows, heartbeats and exits -> RunWatch and
// IncidentBook. No network, no store, no clock: a day of 1,000 ranks takes
// seconds, and 100,000 ranks are possible.
//
// What stands in for the engine is small: a finding that ends an attempt is
// answered by stopping all ranks and starting them again from the newest
// checkpoint, on spares in place of lost or blamed nodes; advice of the other
// detectors is followed the same way when asked to.
//
// Time. In quiet times the state of all nodes is looked at every `beat`, or at
// each step's end; around faults, every heartbeat (500 ms) and tick (100 ms),
// as the service does.

#include <cstdint>
#include <functional>
#include <vector>

#include "fleet/sim/job.h"
#include "server/detect/options.h"
#include "server/detect/run_watch.h"
#include "server/incident/incident_book.h"
#include "server/model/incident.h"

namespace steadyrun::fleet {

struct TrialOptions {
  JobOptions job;
  DetectOptions detect;
  bool follows_advice = true;
  Duration beat{};  // Zero: at the steps' ends.
  // Called now and then with the newest step; may be empty. False: stop.
  std::function<bool(Step)> progress;
  // Called with each row before it is judged, and the time since the start;
  // may be empty.
  std::function<void(const StepRow&, Duration)> on_row;
};

// A claim, and when it was made.
struct Claim {
  Finding finding;
  MonoTime at;
};

struct TrialResult {
  std::vector<Fault> faults;  // With what has struck.
  // Of the training (IsTrainingKind and nan); as the detectors made them.
  std::vector<Claim> claims;
  // Of processes and nodes: grouped, with the cause that stood at the end.
  std::vector<Incident> incidents;
  MonoTime start;
  WallTime wall_start;
  Duration simulated{};
  std::int64_t rows = 0;
  std::int32_t attempts = 1;
  // By attempt, from 1: the checkpoint it began with; kNoStep: none.
  std::vector<Step> resumed_from;
  std::int32_t advice_followed = 0;
};

class Trial {
 public:
  explicit Trial(TrialOptions options);
  // To the run's last step, or until progress says stop.
  TrialResult Run();

 private:
  void BeginAttempt(Step resume, Now now);
  void AdvanceTo(MonoTime now);
  void Deliver(Happening& happening);
  void TakeRow(StepRow row, MonoTime at);
  void Beat(MonoTime now);
  void Evaluate(MonoTime now);
  void Take(Verdicts verdicts, MonoTime now);
  void Follow(const Finding& finding, MonoTime now);
  void MaybeRestart(MonoTime now);
  Step ResumeStep() const;
  Now At(MonoTime mono) const;
  void CollectIncidents();

  TrialOptions options_;
  Job job_;
  RunWatch watch_;
  IncidentBook book_;
  NodeHearing hearing_;
  std::vector<NodeState> states_;  // By node, kept to save allocations.
  std::vector<NodeId> rank_nodes_;
  std::vector<double> scratch_;
  std::vector<Happening> happenings_;
  std::vector<Step> saved_;  // Complete checkpoints.
  TrialResult result_;
  AttemptId attempt_{0};
  std::int32_t spares_ = 0;  // Named so far.
  MonoTime next_beat_;
  MonoTime next_tick_;
  // Set: everything is being stopped since then, because of a finding.
  std::optional<MonoTime> stopping_;
  bool is_stopped_ = false;
  MonoTime restart_at_;
  std::set<NodeId> left_out_;
  Step below_ = kNoStep;  // Resume from before this step.
  bool is_asked_to_stop_ = false;
};

}  // namespace steadyrun::fleet
