#include "replay/score.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>

#include "base/status_macros.h"
#include "replay/label_kinds.h"

namespace steadyrun::replay {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kZ95 = 1.959963984540054;  // Normal quantile of 97.5 %.

bool Contains(const std::vector<IncidentKind>& kinds, IncidentKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

double WilsonBound(const Share& share, double sign) {
  if (share.of == 0) return kNan;
  const double n = static_cast<double>(share.of);
  const double p = static_cast<double>(share.hits) / n;
  const double z2 = kZ95 * kZ95;
  const double half = kZ95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  const double bound = (p + z2 / (2 * n) + sign * half) / (1 + z2 / n);
  return std::clamp(bound, 0.0, 1.0);
}

bool IsAt(const Culprit& culprit, const Label& label) {
  if (!label.ranks.empty() && culprit.rank != kNoRank) {
    return std::find(label.ranks.begin(), label.ranks.end(), culprit.rank) !=
           label.ranks.end();
  }
  return !label.node.empty() && culprit.node == label.node;
}

// The place of the first suspect that is the culprit; -1: none of three.
int PlaceOf(const Alarm& alarm, const Label& label) {
  const std::size_t n = std::min(alarm.suspects.size(), kMaxSuspects);
  for (std::size_t i = 0; i < n; ++i) {
    if (IsAt(alarm.suspects[i], label)) return static_cast<int>(i);
  }
  return -1;
}

// One pass over findings and labels.
class Judge {
 public:
  Judge(const std::vector<Alarm>& alarms, const std::vector<Label>& labels,
        const ScoreOptions& options)
      : alarms_(alarms), labels_(labels), options_(options) {}

  absl::Status Prepare();
  Score Run();

 private:
  double DelaySteps(const Alarm& alarm, const Label& label) const;
  bool IsInAttempt(const Alarm& alarm, std::size_t label) const;
  bool IsInWindow(const Alarm& alarm, std::size_t label) const;
  bool IsWithin(const Alarm& alarm, std::size_t label) const;
  // The label is a fault that `alarm` finds, whoever it names.
  bool Finds(const Alarm& alarm, std::size_t label) const;
  void Credit(std::size_t alarm, std::size_t label);
  bool JudgeNamed(std::size_t alarm);
  bool JudgeUnnamed(std::size_t alarm);
  bool IsMerged(std::size_t alarm);
  bool IsJudged(std::size_t alarm) const {
    return score_.alarms[alarm].label >= 0;
  }
  void Count(std::size_t alarm);

  const std::vector<Alarm>& alarms_;
  const std::vector<Label>& labels_;
  const ScoreOptions& options_;
  std::vector<LabelClass> classes_;
  std::vector<std::size_t> order_;  // Of alarms, by step.
  Score score_;
};

absl::Status Judge::Prepare() {
  for (const Label& label : labels_) {
    auto found = ClassOfLabel(label.kind);
    RETURN_IF_ERROR(found.status());
    if (label.onset == kNoStep) {
      return absl::InvalidArgumentError(
          fmt::format("the label '{}' has no onset", label.kind));
    }
    if (Contains(found->kinds, IncidentKind::kCorruption)) {
      found->window.steps = std::max(found->window.steps, options_.check_steps);
    }
    classes_.push_back(*std::move(found));
  }
  for (std::size_t i = 0; i < alarms_.size(); ++i) {
    if (alarms_[i].advice >= options_.least) order_.push_back(i);
  }
  std::stable_sort(order_.begin(), order_.end(),
                   [&](std::size_t a, std::size_t b) {
                     return alarms_[a].step < alarms_[b].step;
                   });
  score_.alarms.resize(alarms_.size());
  score_.label_found.assign(labels_.size(), false);
  return absl::OkStatus();
}

double Judge::DelaySteps(const Alarm& alarm, const Label& label) const {
  return static_cast<double>(alarm.step.value - label.onset.value) /
         options_.step_stride;
}

// Where both say in which attempt: a later one makes the same steps again.
bool Judge::IsInAttempt(const Alarm& alarm, std::size_t label) const {
  const AttemptId attempt = labels_[label].attempt;
  return attempt == kNoAttempt || alarm.attempt == kNoAttempt ||
         attempt == alarm.attempt;
}

bool Judge::IsInWindow(const Alarm& alarm, std::size_t label) const {
  if (!IsInAttempt(alarm, label)) return false;
  const Window& window = classes_[label].window;
  const auto& onset = labels_[label].onset_seconds;
  if (window.seconds > 0 && onset && alarm.seconds) {
    const double delay = *alarm.seconds - *onset;
    return delay >= 0 &&
           delay <= window.steps * options_.step_seconds + window.seconds;
  }
  const double seconds_as_steps =
      options_.step_seconds > 0 ? window.seconds / options_.step_seconds : 0;
  const double delay = DelaySteps(alarm, labels_[label]);
  // A second shorter than a step still is one.
  return delay >= 0 && delay <= window.steps + std::ceil(seconds_as_steps);
}

// Anywhere between onset and end, or in the window.
bool Judge::IsWithin(const Alarm& alarm, std::size_t label) const {
  const Label& it = labels_[label];
  const bool is_before_end = IsInAttempt(alarm, label) &&
                             alarm.step >= it.onset && alarm.step <= it.end;
  return is_before_end || IsInWindow(alarm, label);
}

bool Judge::Finds(const Alarm& alarm, std::size_t label) const {
  return classes_[label].is_fault &&
         Contains(classes_[label].kinds, alarm.kind) &&
         IsInWindow(alarm, label);
}

void Judge::Credit(std::size_t i, std::size_t l) {
  const Alarm& alarm = alarms_[i];
  const Label& label = labels_[l];
  JudgedAlarm& judged = score_.alarms[i];
  if (score_.label_found[l]) {
    if (judged.label < 0) judged = {Judgement::kDuplicate, static_cast<int>(l)};
    return;
  }
  score_.label_found[l] = true;
  if (judged.judgement != Judgement::kTrue) {
    judged = {Judgement::kTrue, static_cast<int>(l)};
  }
  Counts counts;
  counts.delay_steps.push_back(DelaySteps(alarm, label));
  if (label.onset_seconds && alarm.seconds) {
    counts.delay_seconds.push_back(*alarm.seconds - *label.onset_seconds);
  }
  counts.found = 1;
  if (label.HasPlace()) {
    const int place = PlaceOf(alarm, label);
    counts.placed = 1;
    counts.first_right = place == 0 ? 1 : 0;
    counts.three_right = place >= 0 ? 1 : 0;
  }
  score_.classes[std::string(classes_[l].name)].Add(counts);
}

// First, findings that name a label's culprit: they are about that label.
bool Judge::JudgeNamed(std::size_t i) {
  for (std::size_t l = 0; l < labels_.size(); ++l) {
    if (labels_[l].HasPlace() && PlaceOf(alarms_[i], labels_[l]) >= 0 &&
        Finds(alarms_[i], l)) {
      Credit(i, l);
    }
  }
  return IsJudged(i);
}

// Then the others: they find each label that names nobody, or the earliest
// that is not found yet. Who names a healthy rank has found nothing new.
bool Judge::JudgeUnnamed(std::size_t i) {
  for (std::size_t l = 0; l < labels_.size(); ++l) {
    if (!labels_[l].HasPlace() && Finds(alarms_[i], l)) Credit(i, l);
  }
  if (IsJudged(i)) return true;
  for (std::size_t l = 0; l < labels_.size(); ++l) {
    const bool may_repeat = alarms_[i].suspects.empty();
    if (labels_[l].HasPlace() && Finds(alarms_[i], l) &&
        (may_repeat || !score_.label_found[l])) {
      Credit(i, l);
      return true;
    }
  }
  return false;
}

// What is left may belong to a fault without having found it.
bool Judge::IsMerged(std::size_t i) {
  const Alarm& alarm = alarms_[i];
  for (std::size_t l = 0; l < labels_.size(); ++l) {
    const LabelClass& kind = classes_[l];
    if (kind.is_healthy || !IsWithin(alarm, l)) continue;
    const bool is_its_kind = Contains(kind.kinds, alarm.kind);
    const bool is_innocent = labels_[l].HasPlace() && !alarm.suspects.empty() &&
                             PlaceOf(alarm, labels_[l]) < 0;
    JudgedAlarm& judged = score_.alarms[i];
    const int index = static_cast<int>(l);
    if (!kind.is_fault) {
      if (!is_its_kind) continue;
      judged = {Judgement::kOptional, index};
    } else if (is_its_kind && score_.label_found[l] && !is_innocent) {
      judged = {Judgement::kDuplicate, index};  // The fault goes on.
    } else if (Contains(kind.related, alarm.kind) && !is_its_kind) {
      judged = {Judgement::kRelated, index};
    } else {
      continue;
    }
    return true;
  }
  return false;
}

void Judge::Count(std::size_t i) {
  const JudgedAlarm& judged = score_.alarms[i];
  std::string name(IncidentKindName(alarms_[i].kind));
  if (judged.label >= 0) {
    name = classes_[static_cast<std::size_t>(judged.label)].name;
  }
  Counts& counts = score_.classes[name];
  switch (judged.judgement) {
    case Judgement::kTrue:
      ++counts.true_alarms;
      break;
    case Judgement::kFalse:
      ++counts.false_alarms;
      break;
    default:
      ++counts.merged;
      break;
  }
}

Score Judge::Run() {
  for (std::size_t i : order_) JudgeNamed(i);
  for (std::size_t i : order_) {
    if (!IsJudged(i)) JudgeUnnamed(i);
  }
  for (std::size_t i : order_) {
    if (!IsJudged(i)) IsMerged(i);
    Count(i);
  }
  for (const LabelClass& kind : classes_) {
    if (kind.is_fault) ++score_.classes[std::string(kind.name)].labels;
  }
  for (const auto& [name, counts] : score_.classes) score_.total.Add(counts);
  return std::move(score_);
}

}  // namespace

std::string_view JudgementName(Judgement judgement) {
  switch (judgement) {
    case Judgement::kTrue:
      return "true";
    case Judgement::kDuplicate:
      return "duplicate";
    case Judgement::kRelated:
      return "related";
    case Judgement::kOptional:
      return "optional";
    case Judgement::kFalse:
      return "false";
  }
  return "unknown";
}

Alarm AlarmOf(const Finding& finding) {
  Alarm alarm{
      .kind = finding.kind, .step = finding.step, .advice = finding.advice};
  alarm.attempt = finding.attempt;
  alarm.reason = finding.reason;
  const Culprit& culprit = finding.culprit;
  if (culprit.rank != kNoRank || !culprit.node.empty()) {
    alarm.suspects.push_back(culprit);
  }
  for (const Rank rank : finding.suspects) {
    if (rank != culprit.rank) alarm.suspects.push_back({NodeId(), rank});
  }
  return alarm;
}

double Share::Value() const {
  if (of == 0) return kNan;
  return static_cast<double>(hits) / static_cast<double>(of);
}
double Share::Low() const { return WilsonBound(*this, -1); }
double Share::High() const { return WilsonBound(*this, 1); }

double Counts::F1() const {
  // Harmonic mean of precision over findings and recall over labels.
  if (labels == 0 && false_alarms == 0) return kNan;
  const double precision = Precision().Value();
  const double recall = Recall().Value();
  if (!(precision > 0) || !(recall > 0)) return 0;
  return 2 * precision * recall / (precision + recall);
}

void Counts::Add(const Counts& other) {
  labels += other.labels;
  found += other.found;
  true_alarms += other.true_alarms;
  false_alarms += other.false_alarms;
  merged += other.merged;
  placed += other.placed;
  first_right += other.first_right;
  three_right += other.three_right;
  delay_steps.insert(delay_steps.end(), other.delay_steps.begin(),
                     other.delay_steps.end());
  delay_seconds.insert(delay_seconds.end(), other.delay_seconds.begin(),
                       other.delay_seconds.end());
}

void Score::Add(const Score& other) {
  total.Add(other.total);
  for (const auto& [name, counts] : other.classes) classes[name].Add(counts);
  alarms.clear();
  label_found.clear();
}

absl::StatusOr<Score> ScoreAlarms(const std::vector<Alarm>& alarms,
                                  const std::vector<Label>& labels,
                                  const ScoreOptions& options) {
  Judge judge(alarms, labels, options);
  RETURN_IF_ERROR(judge.Prepare());
  return judge.Run();
}

}  // namespace steadyrun::replay
