#pragma once

// What another policy would have done over a run's history: recorded rows
// through the detectors of both policies, recorded incidents past both, side
// by side with what happened.
//
// What is counted and what is estimated, for both policies by the same rule:
//   - Kinds that are judged from rows (nan and the training kinds) are found
//     again from the rows; one incident a kind, culprit and attempt, as the
//     service merges them.
//   - Other kinds (crash, hang, node_lost, ...) are not found again, since
//     heartbeats are not kept: each recorded incident counts as fired, and the
//     policy's mode, ladder and restart limits say what is done. After a halt
//     nothing further is counted.
//   - An action that ends the attempt is counted once an attempt: what the
//     rows say after it would not have happened.
//   - Steps lost: for kinds from rows, from the checkpoint that would be
//     resumed from to the step of detection, an estimate; for others what was
//     recorded. What a fault that nobody acts on costs is not estimated.

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "replay/backtest.h"
#include "server/model/checkpoint.h"
#include "server/model/incident.h"
#include "server/policy/policy.h"

namespace steadyrun::replay {

// What the store knows of a run, besides its rows.
struct PastRun {
  std::vector<Incident> incidents;  // In any order.
  std::vector<Checkpoint> checkpoints;
};

// One policy's part for one kind.
struct PolicySide {
  std::string answer;  // To the first failure: "restart", "advise page", ...
  std::int64_t fired = 0;
  std::int64_t acted = 0;       // Ended the attempt, or ordered a save.
  std::int64_t left_alone = 0;  // The attempt had ended; a person must act.
  std::int64_t steps_lost = 0;  // By what acted.
};

struct KindComparison {
  IncidentKind kind = IncidentKind::kCrash;
  bool is_from_rows = false;
  std::int64_t recorded = 0;  // Incidents.
  std::int64_t recorded_acted = 0;
  std::int64_t recorded_steps_lost = 0;
  PolicySide before;  // The run's own policy.
  PolicySide after;   // The other one.
};

struct PolicyComparison {
  std::vector<KindComparison> kinds;  // With anything to tell, in enum order.
  std::int64_t rows = 0;
  std::int64_t attempts = 0;
  Step first = kNoStep;  // Of the rows.
  Step last = kNoStep;
  BacktestResult before;
  BacktestResult after;
  std::string before_halt;  // Why it would have halted; empty: it would not.
  std::string after_halt;
};

class PolicyComparer {
 public:
  PolicyComparer(const Policy& before, const Policy& after, PastRun past);

  // As of Backtest.
  void Begin(const WatchedAttempt& attempt);
  void Take(const StepRow& row);
  PolicyComparison Finish();

 private:
  Policy before_;
  Policy after_;
  PastRun past_;
  Backtest before_test_;
  Backtest after_test_;
  PolicyComparison comparison_;
};

// Judged from step rows, so that a backtest finds it again.
bool IsJudgedFromRows(IncidentKind kind);

}  // namespace steadyrun::replay
