#include "tests/bench/score/trial_score.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "absl/strings/str_replace.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::bench {
namespace {

using fleet::Fault;
using fleet::FaultKind;
using fleet::FaultScope;

// The word of the label and the name of the group.
std::string WordOf(const Fault& fault, std::string* group) {
  const std::string word(fleet::FaultKindName(fault.kind));
  *group = word;
  switch (fault.kind) {
    case FaultKind::kLinkLost:
      *group = "crash, all evidence of victims (network lost)";
      return "crash";
    case FaultKind::kCrash:
      *group = "crash of a rank";
      return "crash";
    case FaultKind::kHang:
      *group = fault.comment == "no trace" ? "hang without a trace"
                                           : "hang with a trace";
      return "hang";
    case FaultKind::kStraggler:
      *group = fault.severity >= 0.1    ? "straggler, 10 % and more"
               : fault.severity >= 0.05 ? "straggler, 5 to 10 %"
                                        : "straggler, 2.5 to 5 %";
      return word;
    case FaultKind::kSpikeBenign:
      *group = "loss spike that comes back";
      return "loss_spike";
    case FaultKind::kSpikeMalignant:
      *group = "loss spike that stays";
      return "loss_spike";
    default:
      return word;
  }
}

void AddTo(replay::Counts& counts, const replay::Label& label,
           const replay::Alarm* alarm) {
  ++counts.labels;
  if (alarm == nullptr) return;
  ++counts.found;
  counts.delay_steps.push_back(
      static_cast<double>(alarm->step.value - label.onset.value));
  if (alarm->seconds && label.onset_seconds) {
    counts.delay_seconds.push_back(*alarm->seconds - *label.onset_seconds);
  }
  if (!label.HasPlace()) return;
  ++counts.placed;
  const auto is_right = [&](const Culprit& culprit) {
    return std::ranges::find(label.ranks, culprit.rank) != label.ranks.end() ||
           (!label.node.empty() && culprit.node == label.node);
  };
  if (!alarm->suspects.empty() && is_right(alarm->suspects.front())) {
    ++counts.first_right;
  }
  if (std::ranges::any_of(alarm->suspects, is_right)) ++counts.three_right;
}

replay::Score Judged(const std::vector<replay::Alarm>& alarms,
                     const std::vector<replay::Label>& labels,
                     const fleet::TrialResult& result,
                     const fleet::JobOptions& job, Advice least) {
  replay::ScoreOptions options;
  options.step_seconds =
      ToSeconds(result.simulated) /
      static_cast<double>(std::max<std::int64_t>(1, result.rows));
  options.check_steps = static_cast<double>(
      std::max<std::int64_t>(1, job.profile.curve.hash_steps));
  options.least = least;
  auto score = replay::ScoreAlarms(alarms, labels, options);
  if (!score.ok()) {
    std::fprintf(stderr, "score: %s\n",
                 std::string(score.status().message()).c_str());
    std::abort();  // A label of this program's own making.
  }
  return *std::move(score);
}

bool EndsTheAttempt(const std::string& word) {
  return word == "crash" || word == "hang" || word == "node_lost" ||
         word == "nan";
}

void AddRaw(const std::vector<replay::Label>& labels,
            const std::vector<std::string>& names,
            const std::vector<replay::Alarm>& alarms,
            const replay::Score& score, const fleet::JobOptions& job,
            std::string* raw) {
  const std::string run =
      fmt::format("{},{},{}", job.profile.name, job.ranks, job.seed);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const replay::Label& label = labels[i];
    *raw += fmt::format("{},label,{},{},{:.1f},{},{},\"{}: {}\",\n", run,
                        label.kind, label.onset.value,
                        label.onset_seconds.value_or(0), label.node,
                        label.ranks.empty() ? -1 : label.ranks.front().value,
                        names[i], score.label_found[i] ? "found" : "missed");
  }
  for (std::size_t i = 0; i < alarms.size(); ++i) {
    const replay::Alarm& alarm = alarms[i];
    const Culprit culprit =
        alarm.suspects.empty() ? Culprit() : alarm.suspects.front();
    *raw +=
        fmt::format("{},alarm,{},{},{:.1f},{},{},\"{}, advice {}\",\"{}\"\n",
                    run, IncidentKindName(alarm.kind), alarm.step.value,
                    alarm.seconds.value_or(0), culprit.node, culprit.rank.value,
                    replay::JudgementName(score.alarms[i].judgement),
                    AdviceName(alarm.advice),
                    absl::StrReplaceAll(alarm.reason, {{"\"", "'"}}));
  }
}

}  // namespace

std::vector<replay::Label> LabelsOf(const fleet::TrialResult& result,
                                    std::vector<std::string>* names) {
  std::vector<replay::Label> labels;
  for (const Fault& fault : result.faults) {
    if (!fault.has_struck) continue;
    replay::Label label;
    std::string group;
    label.kind = WordOf(fault, &group);
    label.onset = fault.onset;
    // What sits in a machine lasts, over restarts too, until it is left out.
    label.end = std::max(
        fault.last,
        Step{fault.onset.value + std::max<std::int64_t>(1, fault.steps) - 1});
    label.onset_seconds = ToSeconds(fault.struck - result.start);
    if (fault.scope != FaultScope::kJob) {
      for (std::int32_t r = 0; r < fault.ranks; ++r) {
        label.ranks.push_back(Rank{fault.rank.value + r});
      }
      if (fault.scope == FaultScope::kNode) label.node = fault.node;
    }
    label.note = fault.comment;
    labels.push_back(std::move(label));
    if (names != nullptr) names->push_back(std::move(group));
  }
  return labels;
}

std::vector<replay::Alarm> AlarmsOf(const fleet::TrialResult& result) {
  std::vector<replay::Alarm> alarms;
  for (const fleet::Claim& claim : result.claims) {
    alarms.push_back(replay::AlarmOf(claim.finding));
    alarms.back().seconds = ToSeconds(claim.at - result.start);
  }
  for (const Incident& incident : result.incidents) {
    replay::Alarm alarm;
    alarm.kind = incident.kind;
    // A step is under way when its ranks die or stand.
    alarm.step = incident.step.Next();
    // Stored to the millisecond below: rounded up, or a crash would be found
    // before it was.
    alarm.seconds = ToUnixSeconds(incident.detected) -
                    ToUnixSeconds(result.wall_start) + 0.001;
    // What the default policy answers with a restart.
    alarm.advice =
        EndsAttempt(incident.kind) ? Advice::kReplaceNode : Advice::kReport;
    alarm.suspects = {incident.culprit};
    alarm.reason = incident.reason;
    alarms.push_back(std::move(alarm));
  }
  std::ranges::stable_sort(alarms, {}, [](const replay::Alarm& alarm) {
    return alarm.seconds.value_or(0);
  });
  return alarms;
}

void Sum::Add(const fleet::TrialResult& result, const fleet::JobOptions& job) {
  std::vector<std::string> names;
  const auto labels = LabelsOf(result, &names);
  const auto alarms = AlarmsOf(result);
  // What ends an attempt is found whoever is blamed for it; who was, the places
  // tell. A slow or corrupt rank is only found if it is the right one.
  std::vector<replay::Label> judged_labels = labels;
  for (replay::Label& label : judged_labels) {
    if (!EndsTheAttempt(label.kind)) continue;
    label.ranks.clear();
    label.node.clear();
  }
  const replay::Score score =
      Judged(alarms, judged_labels, result, job, Advice::kRecord);
  std::vector<const replay::Alarm*> finder(labels.size(), nullptr);
  for (std::size_t i = 0; i < alarms.size(); ++i) {
    const replay::JudgedAlarm& judged = score.alarms[i];
    if (judged.judgement == replay::Judgement::kTrue && judged.label >= 0) {
      finder[static_cast<std::size_t>(judged.label)] = &alarms[i];
    }
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    AddTo(groups[names[i]], labels[i], finder[i]);
    AddTo(places[labels[i].kind], labels[i], finder[i]);
    benign_spikes += names[i] == "loss spike that comes back" ? 1 : 0;
  }
  AddRaw(labels, names, alarms, score, job, &raw);
  const replay::Score acted =
      Judged(alarms, judged_labels, result, job, Advice::kReplaceNode);
  needless_actions += acted.total.false_alarms;
  for (const fleet::Claim& claim : result.claims) {
    CountRollback(claim.finding, labels, names, result);
  }
  all.Add(score);
  acting.Add(acted);
  rank_days +=
      static_cast<double>(job.ranks) * ToSeconds(result.simulated) / 86400.0;
  steps += result.rows;
  ++runs;
}

// Of the newest spike or divergence that may have asked for it.
void Sum::CountRollback(const Finding& finding,
                        const std::vector<replay::Label>& labels,
                        const std::vector<std::string>& names,
                        const fleet::TrialResult& result) {
  constexpr const char* kBenign = "loss spike that comes back";
  if (finding.advice != Advice::kRollback ||
      (finding.kind != IncidentKind::kLossSpike &&
       finding.kind != IncidentKind::kDivergence)) {
    return;
  }
  std::optional<std::size_t> cause;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const bool is_benign = names[i] == kBenign;
    if (!is_benign && names[i] != "loss spike that stays" &&
        names[i] != "divergence") {
      continue;
    }
    const std::int64_t late = is_benign ? 100 : 400;
    if (finding.step < labels[i].onset ||
        finding.step.value > labels[i].end.value + late) {
      continue;
    }
    if (!cause || labels[i].onset > labels[*cause].onset) cause = i;
  }
  if (!cause) return;
  if (names[*cause] == kBenign) {
    ++benign_rollbacks;
    return;
  }
  // The checkpoint that the attempt after this one began with.
  const auto next = static_cast<std::size_t>(finding.attempt.value);
  if (next >= result.resumed_from.size()) return;
  ++rollbacks;
  clean_rollbacks += result.resumed_from[next] < labels[*cause].onset ? 1 : 0;
}

}  // namespace steadyrun::bench
