// What ScriptedCluster tells a reader.

#include <fmt/format.h>

#include <utility>

#include "server/recovery/time_ledger.h"
#include "tests/scenario/scripted_node.h"

namespace steadyrun {

void ScriptedCluster::Tell(const std::string& line) {
  transcript_ += fmt::format("{:7.2f}  {}\n", ToSeconds(now_ - start_), line);
}

std::string ScriptedCluster::TakeTranscript() {
  return std::exchange(transcript_, "");
}

void ScriptedCluster::Note(const Change& change) {
  // Only what differs from the last time it was shown.
  const auto show = [this](const std::string& subject,
                           const std::string& line) {
    std::string& shown = shown_[subject];
    if (shown == line) return;
    shown = line;
    Tell(line);
  };
  if (const auto* run = std::get_if<RunState>(&change)) {
    show("run", fmt::format("{} attempt {}: {}", RunPhaseName(run->phase),
                            run->attempt.value, run->phase_reason));
  } else if (const auto* incident = std::get_if<Incident>(&change)) {
    std::string who;
    if (incident->culprit.rank != kNoRank) {
      who += fmt::format(" rank {}", incident->culprit.rank.value);
    }
    if (!incident->culprit.node.empty()) {
      who += " on " + incident->culprit.node;
    }
    show("reason" + incident->Id(),
         fmt::format("incident {}: {}", incident->number, incident->reason));
    show(incident->Id(),
         fmt::format("incident {}: {}{} step {} {}, remedy {}, steps lost {}",
                     incident->number, IncidentKindName(incident->kind), who,
                     incident->step.value, IncidentStateName(incident->state),
                     incident->remediation, incident->steps_lost));
  } else if (const auto* checkpoint = std::get_if<Checkpoint>(&change)) {
    if (checkpoint->state != CheckpointState::kDistrusted) return;
    show(fmt::format("checkpoint{}.{}", checkpoint->attempt.value,
                     checkpoint->step.value),
         fmt::format("checkpoint {} of attempt {} distrusted: {}",
                     checkpoint->step.value, checkpoint->attempt.value,
                     checkpoint->reason));
  } else if (const auto* node = std::get_if<NodeRecord>(&change)) {
    show("node" + node->node,
         fmt::format("node {}{}", node->node,
                     node->is_quarantined
                         ? " quarantined: " + node->quarantine_reason
                         : " usable"));
  }
}

std::string ScriptedCluster::DescribeRun() const {
  if (engine_ == nullptr) return "the server is down\n";
  std::string text;
  for (const RunView& view : engine_->View(TimeNow()).runs) {
    const RunState& state = view.state;
    text +=
        fmt::format("{}: {}, attempt {}, step {}, highest {}\n", state.spec.run,
                    RunPhaseName(state.phase), state.attempt.value,
                    state.attempt_step.value, state.max_step.value);
    for (const NodeAssignment& assignment : state.placement) {
      text += fmt::format("  node_rank {}: {}\n", assignment.node_rank,
                          assignment.node);
    }
    text += fmt::format("  {}\n  why: {}\n  next: {}\n", view.verdict, view.why,
                        view.next);
  }
  return text;
}

std::string ScriptedCluster::DescribeIncidents() const {
  std::string text;
  for (const auto& [id, incident] : store_.Incidents()) {
    text += fmt::format(
        "{} {} {} {}: detected after {:.2f} s, recovered after {:.2f} s, {}\n",
        id, SeverityName(incident.severity), IncidentKindName(incident.kind),
        IncidentStateName(incident.state), ToSeconds(incident.detection_time),
        ToSeconds(incident.recovery_time), incident.remediation);
    for (const TimelineEntry& entry : incident.timeline) {
      text += "  " + entry.text + "\n";
    }
  }
  return text.empty() ? "no incident\n" : text;
}

std::string ScriptedCluster::DescribeCheckpoints() const {
  MemoryStore copy = store_;
  std::string text;
  for (const Checkpoint& checkpoint : copy.Load(TimeNow()).checkpoints) {
    text += fmt::format(
        "step {} of attempt {}: {}{}\n", checkpoint.step.value,
        checkpoint.attempt.value, CheckpointStateName(checkpoint.state),
        checkpoint.reason.empty() ? "" : ", " + checkpoint.reason);
  }
  return text.empty() ? "no checkpoint\n" : text;
}

std::string ScriptedCluster::DescribeTime() const {
  std::string text;
  for (const auto& [name, run] : store_.Runs()) {
    for (const auto& [cause, seconds] : run.time_seconds) {
      text += fmt::format("{}: {:.1f} s\n", cause, seconds);
    }
    text += fmt::format(
        "sum {:.1f} s of {:.1f} s\n", AccountedSeconds(run),
        std::chrono::duration<double>(run.accounted - run.created).count());
  }
  return text;
}

std::string ScriptedCluster::DescribeNodes() const {
  std::string text;
  if (engine_ == nullptr) return "the server is down\n";
  for (const NodeView& node : engine_->View(TimeNow()).nodes) {
    text += fmt::format(
        "{}: {}{}{}\n", node.state.node, node.status,
        node.serving_run.empty() ? ", spare" : ", run " + node.serving_run,
        node.quarantine_reason.empty() ? "" : ", " + node.quarantine_reason);
  }
  return text;
}

std::string ScriptedCluster::DescribeAudit() const {
  std::string text;
  for (const AuditEntry& entry : store_.Audit()) {
    text += fmt::format("{} {}: {} ({})\n", entry.actor, entry.action,
                        entry.outcome, entry.reason);
  }
  return text;
}

}  // namespace steadyrun
