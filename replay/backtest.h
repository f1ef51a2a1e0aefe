#pragma once

// Recorded rows through the detectors that judge a live run, and what a policy
// would have done about their findings.
//
//   Backtest backtest(policy);
//   backtest.Begin(attempt);           // at each attempt
//   backtest.Take(row);                // each row, in the order recorded
//   backtest.Result()
//
// One thread; pure: time comes from the rows.

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "replay/score.h"
#include "replay/trace.h"
#include "server/detect/training_watch.h"
#include "server/policy/policy.h"

namespace steadyrun::replay {

// What a policy does about a finding by itself, at most: limits of [restart]
// and cooldowns are of a live run.
struct PolicyAnswer {
  Mode mode = Mode::kObserve;
  Remedy remedy = Remedy::kNone;
  // The service itself ends the attempt or orders a save.
  bool acts = false;
  std::string text;  // "rollback", "advise rollback", "observe".
};
PolicyAnswer AnswerTo(const Policy& policy, const Finding& finding);

struct BacktestFinding {
  Finding finding;
  Step detected_step = kNoStep;  // Of the row that raised it.
  // Seconds on the recording's clock, from its first row; 0 where no step
  // times were recorded.
  double seconds = 0;
  PolicyAnswer answer;
};

struct BacktestClearance {
  Clearance clearance;
  AttemptId attempt;
  Step step = kNoStep;
};

struct BacktestResult {
  std::vector<BacktestFinding> findings{};
  std::vector<BacktestClearance> clearances{};
  std::int64_t rows = 0;
  std::int64_t attempts = 0;
  std::int64_t left_out = 0;  // Findings past kMaxFindings.
};

class Backtest {
 public:
  // A detector that says this much is not read any more.
  static constexpr std::size_t kMaxFindings = 20'000;

  explicit Backtest(const Policy& policy);

  void Begin(const WatchedAttempt& attempt);
  void Take(const StepRow& row);
  const BacktestResult& Result() const { return result_; }
  BacktestResult TakeResult() { return std::move(result_); }

 private:
  Now At(const StepRow& row);

  Policy policy_;
  TrainingWatch watch_;
  AttemptId attempt_;
  Duration elapsed_{};
  WallTime last_wall_;
  BacktestResult result_;
};

BacktestResult RunBacktest(const Trace& trace, const Policy& policy);

// The findings as alarms for ScoreAlarms, by the row that raised them.
std::vector<Alarm> AlarmsOf(const BacktestResult& result);

}  // namespace steadyrun::replay
