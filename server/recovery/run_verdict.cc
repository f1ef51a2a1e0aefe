#include "server/recovery/run_verdict.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/recovery/phase_change.h"

namespace steadyrun {
namespace {

const Incident* Worst(const std::vector<const Incident*>& open) {
  const Incident* worst = nullptr;
  for (const Incident* incident : open) {
    if (worst == nullptr || incident->severity > worst->severity) {
      worst = incident;
    }
  }
  return worst;
}

std::string DescribeCulprit(const Incident& incident) {
  if (incident.culprit.rank != kNoRank && !incident.culprit.node.empty()) {
    return fmt::format("rank {} on {}", incident.culprit.rank.value,
                       incident.culprit.node);
  }
  if (incident.culprit.rank != kNoRank) {
    return fmt::format("rank {}", incident.culprit.rank.value);
  }
  return incident.culprit.node.empty() ? "culprit unknown"
                                       : incident.culprit.node;
}

std::string ResumeText(Step step) {
  return step == kNoStep ? std::string("from the beginning")
                         : fmt::format("from step {}", step.value);
}

// Nothing goes on without a person, or would go on after a fault.
std::string HeldVerdict(const VerdictInput& input, const Incident* worst) {
  const RunState& state = input.state;
  if (state.held_incident != 0 && worst != nullptr) {
    return fmt::format("Held, with a fault that waits: {} ({}).",
                       IncidentKindName(worst->kind), DescribeCulprit(*worst));
  }
  if (state.phase == RunPhase::kPlacing) return "Held: nothing is started.";
  return "";
}

std::string HeldNext(const VerdictInput& input) {
  const RunState& state = input.state;
  const std::string resume = ResumeText(input.checkpoint_step);
  switch (state.phase) {
    case RunPhase::kPlacing:
    case RunPhase::kVerifying:
      return fmt::format("`steadyrun unhold {}` goes on {}.", state.spec.run,
                         resume);
    case RunPhase::kStarting:
    case RunPhase::kRunning:
      if (state.save_then_stop) return "";
      if (state.held_incident != 0) {
        return fmt::format(
            "`steadyrun unhold {}` answers it; a restart would be {}.",
            state.spec.run, resume);
      }
      return fmt::format(
          "A fault would page and wait for `steadyrun unhold {}`.",
          state.spec.run);
    case RunPhase::kPaused:
    case RunPhase::kHalted:
      return fmt::format(
          "`steadyrun unhold {0}`, then `steadyrun resume {0}` goes on {1}.",
          state.spec.run, resume);
    case RunPhase::kStopping:
    case RunPhase::kCompleted:
    case RunPhase::kStopped:
      return "";  // As without a hold.
  }
  return "";
}

std::string RunningVerdict(const VerdictInput& input, const Incident* worst) {
  const RunState& state = input.state;
  if (input.is_mass_silence) {
    return "Most nodes are silent at once: the network or this service is "
           "suspected, not the run.";
  }
  if (state.save_then_stop) return "Running, about to pause.";
  if (worst == nullptr) {
    return state.spec.target_steps > 0
               ? fmt::format("Running: step {} of {}.",
                             state.attempt_step.value, state.spec.target_steps)
               : fmt::format("Running: step {}.", state.attempt_step.value);
  }
  if (state.attempt_step <= state.max_step_at_start &&
      state.max_step_at_start != kNoStep) {
    return fmt::format("Running again; repeating steps up to {}.",
                       state.max_step_at_start.value);
  }
  return fmt::format("Running, with an open {} incident ({}).",
                     IncidentKindName(worst->kind), DescribeCulprit(*worst));
}

std::string Verdict(const VerdictInput& input, const Incident* worst) {
  const RunState& state = input.state;
  switch (state.phase) {
    case RunPhase::kPlacing:
      return state.attempts == 0 ? "Looking for nodes to start on."
                                 : "Stopped; choosing nodes to go on with.";
    case RunPhase::kVerifying:
      return fmt::format("Preparing attempt {}.", state.attempt.value);
    case RunPhase::kStarting:
      return fmt::format("Attempt {} starts up.", state.attempt.value);
    case RunPhase::kRunning:
      return RunningVerdict(input, worst);
    case RunPhase::kStopping:
      return fmt::format("Stopping attempt {}.", state.attempt.value);
    case RunPhase::kPaused:
      return "Paused.";
    case RunPhase::kHalted:
      return "Halted: a person must decide.";
    case RunPhase::kCompleted:
      return "Completed.";
    case RunPhase::kStopped:
      return "Stopped for good.";
  }
  return "";
}

std::string Next(const VerdictInput& input) {
  const RunState& state = input.state;
  switch (state.phase) {
    case RunPhase::kPlacing: {
      if (state.phase_deadline != MonoTime::max() &&
          input.now < state.phase_deadline) {
        return fmt::format("Starts in {:.0f} s (back-off), {}.",
                           ToSeconds(state.phase_deadline - input.now),
                           ResumeText(input.checkpoint_step));
      }
      return fmt::format("Starts when {} nodes are usable, {}.",
                         state.spec.nodes, ResumeText(input.checkpoint_step));
    }
    case RunPhase::kVerifying:
      return state.resume_step == kNoStep
                 ? "Starts when all nodes are ready."
                 : fmt::format(
                       "Starts when all nodes have read the checkpoint "
                       "of step {}.",
                       state.resume_step.value);
    case RunPhase::kStarting:
      return "Counts as running at the first step of all ranks.";
    case RunPhase::kRunning:
      if (state.save_then_stop && state.save_step.has_value()) {
        return fmt::format("Saves at the end of step {}, then stops.",
                           state.save_step->value);
      }
      return fmt::format("A fault would resume it {}; {} restarts left.",
                         ResumeText(input.checkpoint_step),
                         input.restarts_left);
    case RunPhase::kStopping: {
      std::string next = "Nothing starts before every node is proved stopped";
      if (!input.waiting_for.empty()) next += ": " + input.waiting_for;
      return next + ".";
    }
    case RunPhase::kPaused:
      return fmt::format("`steadyrun resume {}` goes on {}.", state.spec.run,
                         ResumeText(input.checkpoint_step));
    case RunPhase::kHalted:
      return fmt::format(
          "`steadyrun resume {}` tries again {}; `rollback` goes further back; "
          "`stop` ends it.",
          state.spec.run, ResumeText(input.checkpoint_step));
    case RunPhase::kCompleted:
    case RunPhase::kStopped:
      return fmt::format("`steadyrun report {}` tells how it went.",
                         state.spec.run);
  }
  return "";
}

}  // namespace

RunVerdict DescribeRun(const VerdictInput& input) {
  const Incident* worst = Worst(input.open);
  RunVerdict verdict;
  const RunState& state = input.state;
  if (state.is_held) verdict.verdict = HeldVerdict(input, worst);
  if (verdict.verdict.empty()) verdict.verdict = Verdict(input, worst);
  verdict.why = worst != nullptr ? worst->reason : input.state.phase_reason;
  // Where the run stands still, what it stands still for comes first.
  if (AwaitsPerson(state.phase) || state.phase == RunPhase::kPlacing) {
    verdict.why = state.phase_reason;
  }
  if (state.is_held) {
    // Also beside the fault: who may have to be asked.
    const bool is_said = verdict.why == state.hold_reason;
    verdict.why = is_said || worst == nullptr
                      ? state.hold_reason
                      : fmt::format("{} ({})", verdict.why, state.hold_reason);
    verdict.next = HeldNext(input);
  }
  if (verdict.next.empty()) verdict.next = Next(input);
  return verdict;
}

}  // namespace steadyrun
