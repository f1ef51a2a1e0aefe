#include "replay/policy_comparison.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <tuple>
#include <utility>

#include "server/incident/inhibition.h"
#include "server/policy/allowance.h"

namespace steadyrun::replay {
namespace {

using Sides = std::array<PolicySide, kIncidentKinds>;

PolicySide& SideOf(IncidentKind kind, Sides* sides) {
  return (*sides)[static_cast<std::size_t>(kind)];
}

bool WasActedOn(const Incident& incident) {
  for (const Remedy remedy :
       {Remedy::kSave, Remedy::kRestart, Remedy::kReplaceNode,
        Remedy::kRollback, Remedy::kHalt}) {
    if (incident.remediation == RemedyName(remedy)) return true;
  }
  return false;
}

// The step that is resumed from: the newest checkpoint that was complete and
// lies before what must be undone. 0: from the beginning.
std::int64_t ResumeStep(const std::vector<Checkpoint>& checkpoints,
                        const BacktestFinding& found) {
  const Finding& finding = found.finding;
  std::int64_t below = found.detected_step.value + 1;
  if (found.answer.remedy == Remedy::kRollback &&
      finding.rollback.below != kNoStep) {
    below = std::min(below, finding.rollback.below.value);
  }
  std::int64_t resume = 0;
  for (const Checkpoint& checkpoint : checkpoints) {
    if (checkpoint.state == CheckpointState::kWritten ||
        checkpoint.state == CheckpointState::kDistrusted ||
        checkpoint.attempt > finding.attempt ||
        checkpoint.step.value >= below) {
      continue;
    }
    resume = std::max(resume, checkpoint.step.value);
  }
  return resume;
}

// Kinds from rows: one policy's findings as the incidents they would make.
void CountFindings(const BacktestResult& result,
                   const std::vector<Checkpoint>& checkpoints, Sides* sides) {
  std::set<std::tuple<AttemptId, IncidentKind, NodeId, Rank>> incidents;
  std::set<AttemptId> ended;
  for (const BacktestFinding& found : result.findings) {
    const Finding& finding = found.finding;
    if (ended.contains(finding.attempt)) continue;
    if (!incidents
             .emplace(finding.attempt, finding.kind, finding.culprit.node,
                      finding.culprit.rank)
             .second) {
      continue;
    }
    PolicySide& side = SideOf(finding.kind, sides);
    ++side.fired;
    if (!found.answer.acts) continue;
    ++side.acted;
    if (!StopsTheAttempt(found.answer.remedy)) continue;
    ended.insert(finding.attempt);
    side.steps_lost += std::max<std::int64_t>(
        0, found.detected_step.value - ResumeStep(checkpoints, found));
  }
}

// Other kinds: recorded incidents past one policy, in order.
class IncidentReplay {
 public:
  IncidentReplay(const Policy& policy, Sides* sides)
      : policy_(policy), sides_(sides) {}

  void Take(const Incident& incident);
  const std::string& Halt() const { return halt_; }

 private:
  // True: it is answered by itself.
  bool Restart(const Incident& incident);

  const Policy& policy_;
  Sides* sides_;
  std::vector<RestartRecord> restarts_;
  std::int32_t without_progress_ = 0;
  Step furthest_ = kNoStep;
  std::string halt_;
};

bool IncidentReplay::Restart(const Incident& incident) {
  const MonoTime at(incident.detected.time_since_epoch());
  const bool made_progress = incident.step > furthest_;
  without_progress_ = made_progress ? 0 : without_progress_ + 1;
  furthest_ = std::max(furthest_, incident.step);
  const Failure failure{incident.kind, incident.signature, incident.step};
  const Allowance allowance =
      AllowRestart(policy_, restarts_, without_progress_, failure, at);
  if (allowance.verdict == AllowanceVerdict::kHalt) {
    halt_ = fmt::format("at {} of step {}: {}", incident.Id(),
                        incident.step.value, allowance.reason);
    return true;
  }
  if (!StopsTheAttempt(allowance.remedy)) return false;
  RestartRecord record;
  record.at = incident.detected;
  record.at_mono = at;
  record.attempt = incident.attempt;
  record.kind = incident.kind;
  record.signature = incident.signature;
  record.step = incident.step;
  record.made_progress = made_progress;
  restarts_.push_back(std::move(record));
  return true;
}

void IncidentReplay::Take(const Incident& incident) {
  if (!halt_.empty()) return;
  PolicySide& side = SideOf(incident.kind, sides_);
  const KindPolicy& kind = policy_.For(incident.kind);
  ++side.fired;
  if (!EndsAttempt(incident.kind)) {
    const bool saves = RungOf(kind, 0) == Remedy::kSave;
    side.acted += kind.mode == Mode::kAct && saves ? 1 : 0;
    return;
  }
  if (kind.mode != Mode::kAct || !Restart(incident)) {
    ++side.left_alone;
    return;
  }
  ++side.acted;
  side.steps_lost += incident.steps_lost;
}

std::string ReplayIncidents(const Policy& policy,
                            const std::vector<Incident>& incidents,
                            Sides* sides) {
  IncidentReplay replay(policy, sides);
  for (const Incident& incident : incidents) {
    if (!IsJudgedFromRows(incident.kind)) replay.Take(incident);
  }
  return replay.Halt();
}

std::string AnswerOf(const Policy& policy, IncidentKind kind) {
  Finding finding;
  finding.kind = kind;
  finding.advice = Advice::kHalt;  // What the policy does at most.
  return AnswerTo(policy, finding).text;
}

}  // namespace

bool IsJudgedFromRows(IncidentKind kind) {
  return kind == IncidentKind::kNan || IsTrainingKind(kind);
}

PolicyComparer::PolicyComparer(const Policy& before, const Policy& after,
                               PastRun past)
    : before_(before),
      after_(after),
      past_(std::move(past)),
      before_test_(before),
      after_test_(after) {
  std::sort(
      past_.incidents.begin(), past_.incidents.end(),
      [](const Incident& a, const Incident& b) { return a.number < b.number; });
}

void PolicyComparer::Begin(const WatchedAttempt& attempt) {
  before_test_.Begin(attempt);
  after_test_.Begin(attempt);
}

void PolicyComparer::Take(const StepRow& row) {
  before_test_.Take(row);
  after_test_.Take(row);
  if (comparison_.first == kNoStep) comparison_.first = row.step;
  comparison_.last = std::max(comparison_.last, row.step);
}

PolicyComparison PolicyComparer::Finish() {
  comparison_.before = before_test_.TakeResult();
  comparison_.after = after_test_.TakeResult();
  comparison_.rows = comparison_.after.rows;
  comparison_.attempts = comparison_.after.attempts;
  Sides before;
  Sides after;
  CountFindings(comparison_.before, past_.checkpoints, &before);
  CountFindings(comparison_.after, past_.checkpoints, &after);
  comparison_.before_halt = ReplayIncidents(before_, past_.incidents, &before);
  comparison_.after_halt = ReplayIncidents(after_, past_.incidents, &after);
  for (std::size_t i = 0; i < kIncidentKinds; ++i) {
    KindComparison kind;
    kind.kind = static_cast<IncidentKind>(i);
    kind.is_from_rows = IsJudgedFromRows(kind.kind);
    for (const Incident& incident : past_.incidents) {
      if (incident.kind != kind.kind) continue;
      ++kind.recorded;
      kind.recorded_acted += WasActedOn(incident) ? 1 : 0;
      kind.recorded_steps_lost += incident.steps_lost;
    }
    kind.before = before[i];
    kind.after = after[i];
    kind.before.answer = AnswerOf(before_, kind.kind);
    kind.after.answer = AnswerOf(after_, kind.kind);
    const bool is_told = kind.recorded > 0 || kind.before.fired > 0 ||
                         kind.after.fired > 0 ||
                         kind.before.answer != kind.after.answer;
    if (is_told) comparison_.kinds.push_back(std::move(kind));
  }
  return std::move(comparison_);
}

}  // namespace steadyrun::replay
