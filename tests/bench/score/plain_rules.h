#pragma once

// What others ship, run on the same rows: fixed thresholds on one step's loss,
// gradient norm or rank times. Each keeps its own state; a rule that stays
// over its limit says so once, and again when it was quiet for kQuietSteps.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "replay/score.h"
#include "server/model/step_row.h"

namespace steadyrun::bench {

class PlainRule {
 public:
  static constexpr std::int64_t kQuietSteps = 20;

  PlainRule(std::string name, std::string used_by, IncidentKind kind)
      : name_(std::move(name)), used_by_(std::move(used_by)), kind_(kind) {}
  virtual ~PlainRule() = default;

  // `seconds`: when the row came.
  virtual void Observe(const StepRow& row, double seconds) = 0;
  // Forgets what it has learned; alarms stay. Of a new run or attempt.
  virtual void Begin() { last_.clear(); }

  const std::string& Name() const { return name_; }
  const std::string& UsedBy() const { return used_by_; }
  IncidentKind Kind() const { return kind_; }
  std::vector<replay::Alarm> TakeAlarms() { return std::move(alarms_); }

 protected:
  void Raise(const StepRow& row, double seconds, Rank rank = kNoRank);

 private:
  const std::string name_;
  const std::string used_by_;
  const IncidentKind kind_;
  std::map<std::int32_t, std::int64_t> last_;  // By rank: its last step over.
  std::vector<replay::Alarm> alarms_;
};

std::vector<std::unique_ptr<PlainRule>> AllPlainRules();

}  // namespace steadyrun::bench
