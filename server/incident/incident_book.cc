#include "server/incident/incident_book.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <utility>

namespace steadyrun {
namespace {

// Room kept for how the story ends.
constexpr std::size_t kReservedTimeline = 8;

void PushEvidence(Incident& incident, std::string line) {
  auto& lines = incident.evidence;
  if (line.empty() || std::ranges::find(lines, line) != lines.end()) return;
  if (lines.size() + 1 < kMaxEvidence) {
    lines.push_back(std::move(line));
  } else if (lines.size() < kMaxEvidence) {
    lines.push_back("more evidence was left out");
  }
}

void PushTimeline(Incident& incident, std::string text, Now now,
                  bool is_last_word = false) {
  auto& timeline = incident.timeline;
  const std::size_t room =
      is_last_word ? kMaxTimeline : kMaxTimeline - kReservedTimeline;
  if (timeline.size() + 1 < room) {
    timeline.push_back({now.wall, std::move(text)});
  } else if (timeline.size() < room) {
    timeline.push_back(
        {now.wall, is_last_word ? std::move(text)
                                : std::string("more entries were left out")});
  }
}

std::string CulpritWords(const Culprit& culprit) {
  if (culprit.rank != kNoRank) return RankOnNode(culprit.rank, culprit.node);
  if (!culprit.node.empty()) return "node " + culprit.node;
  return "no known culprit";
}

WallTime WallOf(MonoTime mono, Now now) {
  return now.wall -
         std::chrono::duration_cast<std::chrono::milliseconds>(now.mono - mono);
}

}  // namespace

IncidentBook::IncidentBook(RunId run, std::int64_t last_number)
    : run_(std::move(run)), last_number_(last_number) {}

OpenCause IncidentBook::CauseOf(const Entry& entry) {
  const Incident& incident = entry.incident;
  OpenCause cause;
  cause.kind = incident.kind;
  cause.attempt = incident.attempt;
  cause.culprit = incident.culprit;
  cause.step = incident.step;
  cause.onset = entry.onset;
  cause.is_provisional = entry.is_provisional;
  cause.is_victim = entry.is_victim;
  cause.is_independent = entry.is_independent;
  return cause;
}

void IncidentBook::Restore(const Incident& incident, Now now) {
  if (incident.state != IncidentState::kOpen) return;
  Entry entry;
  entry.incident = incident;
  entry.onset = now.mono - (now.wall - incident.onset);
  entry.detected = entry.onset + incident.detection_time;
  // The exits seen so far are gone with the process. A signal speaks for
  // itself; an exception may have been a victim's.
  const bool is_crash = incident.kind == IncidentKind::kCrash;
  const bool is_signal = incident.signature.starts_with("SIG") &&
                         !incident.signature.starts_with("SIGABRT") &&
                         !incident.signature.starts_with("SIGPIPE");
  entry.is_provisional = is_crash;
  entry.is_victim = is_crash && !is_signal;
  entry.is_independent =
      (is_crash && is_signal) || incident.kind == IncidentKind::kNodeLost;
  last_number_ = std::max(last_number_, incident.number);
  entries_.insert_or_assign(incident.number, std::move(entry));
}

IncidentBook::Entry* IncidentBook::Newest() {
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    if (it->second.incident.state == IncidentState::kOpen) return &it->second;
  }
  return nullptr;
}

Booked IncidentBook::Observe(const Finding& finding, Now now) {
  if (finding.run != run_) return {};
  // One that ends the attempt before one that only accompanies it: a lost node
  // explains the crash of its peers, and the silence of its agent ends with it.
  const auto find = [&](Relation relation) -> Entry* {
    Entry* condition = nullptr;
    for (auto& [number, entry] : entries_) {
      if (entry.incident.state != IncidentState::kOpen ||
          Relate(CauseOf(entry), finding) != relation) {
        continue;
      }
      if (EndsAttempt(entry.incident)) return &entry;
      if (condition == nullptr) condition = &entry;
    }
    return condition;
  };
  Booked booked;
  if (Entry* same = find(Relation::kSameCause)) {
    booked = Confirm(*same, finding, now);
  } else if (Entry* victim = find(Relation::kBetterCause)) {
    booked = Replace(*victim, finding, now);
  } else if (Entry* cause = find(Relation::kVictim)) {
    booked = Accompany(*cause, finding, now);
  } else if (Open().size() >= kMaxOpenIncidents) {
    booked = Accompany(*Newest(), finding, now);
  } else {
    booked = OpenNew(finding, now);
  }
  if (finding.kind == IncidentKind::kNodeLost) {
    EndConditionsOf(finding.culprit.node, booked.incident, now);
  }
  return booked;
}

void IncidentBook::TakeClaim(Entry& entry, const Finding& finding) {
  Incident& incident = entry.incident;
  incident.kind = finding.kind;
  incident.severity = finding.severity;
  incident.culprit = finding.culprit;
  incident.step = finding.step;
  incident.reason = finding.reason;
  incident.signature = finding.signature;
  incident.detector = finding.detector;
  incident.onset_step = finding.onset_step;
  // Of other kinds the kind itself says what ends an attempt.
  incident.advice =
      IsTrainingKind(finding.kind) ? finding.advice : Advice::kReport;
  incident.rollback = finding.rollback;
  entry.is_provisional = finding.is_provisional;
  entry.is_victim = finding.is_victim;
  entry.is_independent = finding.is_independent;
}

Booked IncidentBook::OpenNew(const Finding& finding, Now now) {
  Entry entry;
  entry.onset = std::min(finding.onset.mono, now.mono);
  entry.detected = now.mono;
  Incident& incident = entry.incident;
  incident.number = ++last_number_;
  incident.run = run_;
  incident.attempt = finding.attempt;
  incident.onset = WallOf(entry.onset, now);
  incident.detected = now.wall;
  incident.detection_time = now.mono - entry.onset;
  TakeClaim(entry, finding);
  for (const std::string& line : finding.evidence) {
    PushEvidence(incident, line);
  }
  PushTimeline(
      incident,
      fmt::format("{} detected {} after its onset: {}",
                  IncidentKindName(finding.kind),
                  HumanSeconds(incident.detection_time), finding.reason),
      now);
  Booked booked;
  booked.incident = incident.number;
  booked.is_new = true;
  booked.needs_recovery = EndsAttempt(incident);
  Touch(entry);
  entries_.emplace(booked.incident, std::move(entry));
  return booked;
}

Booked IncidentBook::Replace(Entry& entry, const Finding& finding, Now now) {
  Incident& incident = entry.incident;
  const bool was_condition = !EndsAttempt(incident);
  const IncidentKind kind = incident.kind;
  const Culprit culprit = incident.culprit;
  PushEvidence(incident, fmt::format("first taken for {}: {}",
                                     IncidentKindName(kind), incident.reason));
  TakeClaim(entry, finding);
  incident.attempt = finding.attempt;
  if (was_condition) {
    // The agent may have been silent for long; the run was hurt only now.
    entry.onset = std::min(finding.onset.mono, now.mono);
    entry.detected = now.mono;
    incident.detected = now.wall;
  } else {
    entry.onset = std::min(entry.onset, finding.onset.mono);
  }
  incident.onset = WallOf(entry.onset, now);
  incident.detection_time = entry.detected - entry.onset;
  for (const std::string& line : finding.evidence) {
    PushEvidence(incident, line);
  }
  PushTimeline(incident,
               fmt::format("cause corrected from {} ({}) to {} ({}): {}",
                           IncidentKindName(kind), CulpritWords(culprit),
                           IncidentKindName(incident.kind),
                           CulpritWords(incident.culprit), finding.reason),
               now);
  Touch(entry);
  Booked booked;
  booked.incident = incident.number;
  booked.cause_changed = kind != incident.kind || culprit != incident.culprit;
  booked.needs_recovery = EndsAttempt(incident);
  return booked;
}

Booked IncidentBook::Confirm(Entry& entry, const Finding& finding, Now now) {
  Incident& incident = entry.incident;
  const Incident before = incident;
  const bool was_provisional = entry.is_provisional;
  const Culprit culprit = incident.culprit;
  // An incident's final attribution is not talked down again, nor what it
  // asks for.
  const bool asks_for_less =
      IsTrainingKind(finding.kind) && finding.advice < incident.advice;
  if ((was_provisional || !finding.is_provisional) && !asks_for_less) {
    TakeClaim(entry, finding);
  }
  for (const std::string& line : finding.evidence) {
    PushEvidence(incident, line);
  }
  if (was_provisional && !finding.is_provisional) {
    PushTimeline(incident, fmt::format("cause confirmed: {}", finding.reason),
                 now);
  } else if (incident.reason != before.reason) {
    PushTimeline(incident, fmt::format("more is known: {}", incident.reason),
                 now);
  }
  if (!(incident == before)) Touch(entry);
  Booked booked;
  booked.incident = incident.number;
  booked.cause_changed =
      culprit != incident.culprit || before.step != incident.step;
  booked.needs_recovery = EndsAttempt(incident) && booked.cause_changed;
  return booked;
}

Booked IncidentBook::Accompany(Entry& entry, const Finding& finding, Now now) {
  Incident& incident = entry.incident;
  const std::string line = fmt::format(
      "also {}: {}", IncidentKindName(finding.kind), finding.reason);
  if (std::ranges::find(incident.evidence, line) == incident.evidence.end()) {
    PushEvidence(incident, line);
    PushTimeline(incident, line, now);
    Touch(entry);
  }
  Booked booked;
  booked.incident = incident.number;
  return booked;
}

void IncidentBook::EndConditionsOf(const NodeId& node, std::int64_t cause,
                                   Now now) {
  for (auto& [number, entry] : entries_) {
    const Incident& incident = entry.incident;
    if (number == cause || incident.state != IncidentState::kOpen ||
        incident.culprit.node != node) {
      continue;
    }
    if (incident.kind != IncidentKind::kAgentLost &&
        incident.kind != IncidentKind::kStorage) {
      continue;
    }
    Close(entry, IncidentState::kClosed,
          fmt::format("the node is lost, see {}:{}", run_, cause), now);
  }
}

bool IncidentBook::Clear(const Clearance& clearance, Now now) {
  if (clearance.run != run_) return false;
  bool any = false;
  for (auto& [number, entry] : entries_) {
    const Incident& incident = entry.incident;
    if (incident.state != IncidentState::kOpen ||
        incident.kind != clearance.kind) {
      continue;
    }
    if (!clearance.culprit.node.empty() &&
        clearance.culprit.node != incident.culprit.node) {
      continue;
    }
    Close(entry, IncidentState::kRecovered, clearance.reason, now);
    any = true;
  }
  return any;
}

void IncidentBook::Close(Entry& entry, IncidentState state,
                         const std::string& why, Now now) {
  Incident& incident = entry.incident;
  incident.state = state;
  if (state == IncidentState::kRecovered) {
    incident.recovered = now.wall;
    incident.recovery_time = now.mono - entry.onset;
  }
  PushTimeline(incident, fmt::format("{}: {}", IncidentStateName(state), why),
               now,
               /*is_last_word=*/true);
  Touch(entry);
}

void IncidentBook::SetRemediation(std::int64_t number,
                                  std::string remediation) {
  const auto entry = entries_.find(number);
  if (entry == entries_.end() ||
      entry->second.incident.remediation == remediation) {
    return;
  }
  entry->second.incident.remediation = std::move(remediation);
  Touch(entry->second);
}

void IncidentBook::AddStepsLost(std::int64_t number, std::int64_t steps) {
  const auto entry = entries_.find(number);
  if (entry == entries_.end() || steps <= 0) return;
  entry->second.incident.steps_lost += steps;
  Touch(entry->second);
}

void IncidentBook::AddTimeline(std::int64_t number, std::string text, Now now) {
  const auto entry = entries_.find(number);
  if (entry == entries_.end()) return;
  PushTimeline(entry->second.incident, std::move(text), now);
  Touch(entry->second);
}

void IncidentBook::AddEvidence(std::int64_t number, std::string line) {
  const auto entry = entries_.find(number);
  if (entry == entries_.end()) return;
  PushEvidence(entry->second.incident, std::move(line));
  Touch(entry->second);
}

void IncidentBook::AddTimelineToRecovering(const std::string& text, Now now) {
  for (auto& [number, entry] : entries_) {
    if (entry.incident.state != IncidentState::kOpen ||
        !EndsAttempt(entry.incident)) {
      continue;
    }
    PushTimeline(entry.incident, text, now);
    Touch(entry);
  }
}

void IncidentBook::Recover(AttemptId attempt, Step step, Now now) {
  for (auto& [number, entry] : entries_) {
    const Incident& incident = entry.incident;
    if (incident.state != IncidentState::kOpen || !EndsAttempt(incident) ||
        incident.attempt >= attempt) {
      continue;
    }
    Close(entry, IncidentState::kRecovered,
          fmt::format("attempt {} made the first new step, {}", attempt.value,
                      step.value),
          now);
  }
}

void IncidentBook::LeaveTraining(AttemptId attempt, Now now) {
  for (auto& [number, entry] : entries_) {
    const Incident& incident = entry.incident;
    if (incident.state != IncidentState::kOpen ||
        !IsTrainingKind(incident.kind) || EndsAttempt(incident) ||
        incident.attempt >= attempt) {
      continue;
    }
    Close(entry, IncidentState::kClosed,
          fmt::format("attempt {} has ended; attempt {} is judged anew",
                      incident.attempt.value, attempt.value),
          now);
  }
}

void IncidentBook::CloseAll(const std::string& reason, bool include_conditions,
                            Now now) {
  for (auto& [number, entry] : entries_) {
    if (entry.incident.state != IncidentState::kOpen) continue;
    if (!include_conditions && !EndsAttempt(entry.incident)) continue;
    Close(entry, IncidentState::kClosed, reason, now);
  }
}

const Incident* IncidentBook::Recovering() const {
  for (const auto& [number, entry] : entries_) {
    if (entry.incident.state == IncidentState::kOpen &&
        EndsAttempt(entry.incident)) {
      return &entry.incident;
    }
  }
  return nullptr;
}

const Incident* IncidentBook::Find(std::int64_t number) const {
  const auto entry = entries_.find(number);
  return entry == entries_.end() ? nullptr : &entry->second.incident;
}

std::vector<const Incident*> IncidentBook::Open() const {
  std::vector<const Incident*> open;
  for (const auto& [number, entry] : entries_) {
    if (entry.incident.state == IncidentState::kOpen) {
      open.push_back(&entry.incident);
    }
  }
  return open;
}

std::vector<Incident> IncidentBook::TakeChanged() {
  std::vector<Incident> changed;
  for (const std::int64_t number : std::exchange(changed_, {})) {
    const auto entry = entries_.find(number);
    if (entry == entries_.end()) continue;
    changed.push_back(entry->second.incident);
    if (entry->second.incident.state != IncidentState::kOpen) {
      entries_.erase(entry);
    }
  }
  return changed;
}

}  // namespace steadyrun
