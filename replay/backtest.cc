#include "replay/backtest.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace steadyrun::replay {
namespace {

// A step that takes longer than this was not measured in seconds.
constexpr double kLongestStep = 1e7;

}  // namespace

PolicyAnswer AnswerTo(const Policy& policy, const Finding& finding) {
  const KindPolicy& kind = policy.For(finding.kind);
  PolicyAnswer answer;
  answer.mode = kind.mode;
  answer.remedy = FirstRemedy(policy, finding.kind, finding.advice);
  answer.acts = kind.mode == Mode::kAct && (StopsTheAttempt(answer.remedy) ||
                                            answer.remedy == Remedy::kSave);
  switch (kind.mode) {
    case Mode::kObserve:
      answer.text = "observe";
      break;
    case Mode::kAdvise:
      answer.text = fmt::format("advise {}", RemedyName(answer.remedy));
      break;
    case Mode::kAct:
      answer.text = RemedyName(answer.remedy);
      break;
  }
  return answer;
}

Backtest::Backtest(const Policy& policy)
    : policy_(policy), watch_(policy.detect) {}

// Rows of the store have a wall time; those of a file last as long as they say.
Now Backtest::At(const StepRow& row) {
  if (row.ended != WallTime()) {
    if (last_wall_ != WallTime() && row.ended > last_wall_) {
      elapsed_ += row.ended - last_wall_;
    }
    last_wall_ = std::max(last_wall_, row.ended);
    return {MonoTime(elapsed_), row.ended};
  }
  if (row.step_seconds > 0 && row.step_seconds < kLongestStep &&
      ToSeconds(elapsed_) < kLongestStep * 100) {
    elapsed_ += FromSeconds(row.step_seconds);
  }
  return {MonoTime(elapsed_),
          WallTime(
              std::chrono::duration_cast<std::chrono::milliseconds>(elapsed_))};
}

void Backtest::Begin(const WatchedAttempt& attempt) {
  attempt_ = attempt.attempt;
  ++result_.attempts;
  watch_.Begin(attempt, {MonoTime(elapsed_), last_wall_});
}

void Backtest::Take(const StepRow& row) {
  ++result_.rows;
  Verdicts verdicts;
  watch_.ObserveRow(row, At(row), &verdicts);
  for (Finding& finding : verdicts.findings) {
    if (result_.findings.size() >= kMaxFindings) {
      ++result_.left_out;
      continue;
    }
    BacktestFinding found;
    found.detected_step = row.step;
    found.seconds = ToSeconds(elapsed_);
    found.answer = AnswerTo(policy_, finding);
    if (finding.onset_step == kNoStep) finding.onset_step = finding.step;
    found.finding = std::move(finding);
    result_.findings.push_back(std::move(found));
  }
  for (Clearance& clearance : verdicts.cleared) {
    if (result_.clearances.size() >= kMaxFindings) break;
    result_.clearances.push_back({std::move(clearance), attempt_, row.step});
  }
}

BacktestResult RunBacktest(const Trace& trace, const Policy& policy) {
  Backtest backtest(policy);
  for (const TraceAttempt& attempt : trace.attempts) {
    backtest.Begin(attempt.attempt);
    for (const StepRow& row : attempt.rows) backtest.Take(row);
  }
  return backtest.TakeResult();
}

std::vector<Alarm> AlarmsOf(const BacktestResult& result) {
  std::vector<Alarm> alarms;
  for (const BacktestFinding& found : result.findings) {
    alarms.push_back(AlarmOf(found.finding));
    alarms.back().step = found.detected_step;
    if (found.seconds > 0) alarms.back().seconds = found.seconds;
  }
  return alarms;
}

}  // namespace steadyrun::replay
