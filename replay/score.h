#pragma once

// Findings against the truth: who was right, how soon, and about whom.
//
// The rules of the published benchmark:
//   - A finding is right when its kind can find the label's fault and it came
//     within the label's window (label_kinds.h) after the onset.
//   - Further findings of the same fault are one with the first; consequences
//     of a fault (a gradient explosion within a loss spike) are neither right
//     nor wrong. Everything else is a false alarm: too early or too late, of
//     another kind, or about a healthy rank where the label names the culprit.
//   - Recall counts labels, precision counts findings.
// Truth comes from a label file or from a simulator. Pure; scores of several
// runs add up.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/ids.h"
#include "server/model/finding.h"

namespace steadyrun::replay {

// One fault that was there, or one passage that a person judged.
struct Label {
  std::string kind;  // A word of label_kinds.h.
  Step onset = kNoStep;
  Step end = kNoStep;                     // Inclusive.
  std::optional<double> onset_seconds{};  // On the clock of Alarm::seconds.
  // Who caused it: any of these ranks, or the node; empty: not known.
  std::vector<Rank> ranks{};
  NodeId node{};
  std::string note{};
  AttemptId attempt{};  // In which it was; kNoAttempt: in any.

  bool HasPlace() const { return !ranks.empty() || !node.empty(); }
};

// One finding, as it is judged.
struct Alarm {
  IncidentKind kind = IncidentKind::kCrash;
  Step step = kNoStep;              // Where it was raised.
  std::optional<double> seconds{};  // When.
  Advice advice = Advice::kReport;
  std::vector<Culprit> suspects{};  // Likeliest first; empty: nobody is named.
  AttemptId attempt{};
  std::string reason{};  // For people; not judged.
};
// The culprit first, then the other suspects.
Alarm AlarmOf(const Finding& finding);

enum class Judgement {
  kTrue,       // The first to find its label's fault.
  kDuplicate,  // The same fault again.
  kRelated,    // A consequence of a fault.
  kOptional,   // In a passage where finding something is neither.
  kFalse,
};
std::string_view JudgementName(Judgement judgement);

// A share with its Wilson 95 % interval. NaN when `of` is 0.
struct Share {
  std::int64_t hits = 0;
  std::int64_t of = 0;

  double Value() const;
  double Low() const;
  double High() const;
};

// Counts of one class of faults, or of all. Additive.
struct Counts {
  std::int64_t labels = 0;
  std::int64_t found = 0;         // Labels.
  std::int64_t true_alarms = 0;   // Findings; one may find several labels.
  std::int64_t false_alarms = 0;  // Findings.
  std::int64_t merged = 0;        // Duplicates, consequences and optional ones.
  // Of the found labels that name a culprit.
  std::int64_t placed = 0;
  std::int64_t first_right = 0;  // The first suspect is it.
  std::int64_t three_right = 0;  // One of the first three is.
  std::vector<double> delay_steps;
  std::vector<double> delay_seconds;  // Where both times are known.

  Share Recall() const { return {found, labels}; }
  Share Precision() const { return {true_alarms, true_alarms + false_alarms}; }
  Share Top1() const { return {first_right, placed}; }
  Share Top3() const { return {three_right, placed}; }
  double F1() const;  // NaN when nothing was to be found and nothing was.
  void Add(const Counts& other);
};

struct JudgedAlarm {
  Judgement judgement = Judgement::kFalse;
  std::int32_t label = -1;  // Of those it found the first; -1: none.
};

struct Score {
  Counts total;
  // Found and missed labels under the label's class, false alarms under their
  // own kind's word.
  std::map<std::string, Counts> classes;
  // For the arguments' entries, in their order; empty after Add.
  std::vector<JudgedAlarm> alarms;
  std::vector<bool> label_found;

  void Add(const Score& other);
};

struct ScoreOptions {
  // How far the step number moves from one row to the next: some trainers log
  // every tenth step or count samples. A window of 100 steps is 100 rows.
  double step_stride = 1;
  // What a row takes, to compare windows in seconds with steps and back.
  double step_seconds = 1;
  // How often replicas are compared: the window of `corruption`.
  double check_steps = 100;
  // Only findings that ask for at least this are judged; kReplaceNode: those
  // that would have acted.
  Advice least = Advice::kRecord;
};

// INVALID_ARGUMENT: a label of an unknown kind or without an onset.
absl::StatusOr<Score> ScoreAlarms(const std::vector<Alarm>& alarms,
                                  const std::vector<Label>& labels,
                                  const ScoreOptions& options);

}  // namespace steadyrun::replay
