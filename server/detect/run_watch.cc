#include "server/detect/run_watch.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace steadyrun {

RunWatch::RunWatch(const DetectOptions& options)
    : options_(options),
      crash_(options.crash),
      hang_(options.hang),
      silence_(options.silence),
      training_(options),
      checkpoint_(options.checkpoint) {}

void RunWatch::Begin(const WatchedAttempt& attempt, Now now) {
  attempt_ = attempt;
  progress_.Begin(attempt, now.mono);
  crash_.Begin(attempt);
  hang_.Begin(attempt, now.mono);
  silence_.Begin(attempt);
  training_.Begin(attempt, now);
  checkpoint_.Begin(attempt, now.mono);
  storage_.Begin(attempt);
  agents_.clear();
}

bool RunWatch::IsWatching(AttemptId attempt) const {
  return attempt_.attempt == attempt && attempt.value > 0;
}

void RunWatch::Add(std::optional<Finding> finding) {
  if (finding.has_value()) pending_.findings.push_back(std::move(*finding));
}

void RunWatch::ObserveNode(const NodeState& state, Now now) {
  storage_.Observe(state, now, &pending_);
  bool has_ranks = false;
  for (const NodeRunState& run : state.runs) {
    if (run.run != attempt_.run) continue;
    for (const RankState& rank : run.ranks) {
      if (rank.attempt != attempt_.attempt) continue;
      has_ranks = true;
      hang_.ObserveRank(rank, now.mono);
      progress_.Observe(rank, now.mono);
      Add(crash_.ObserveState(rank, now));
    }
  }
  if (has_ranks) ObserveAgent(state, now);
}

void RunWatch::ObserveAgent(const NodeState& state, Now now) {
  const auto [agent, is_new] =
      agents_.try_emplace(state.node, Agent{state.agent_incarnation, now});
  const Agent before =
      std::exchange(agent->second, Agent{state.agent_incarnation, now});
  if (is_new || before.incarnation == state.agent_incarnation ||
      silence_.IsAgentLost(state.node)) {
    return;  // Nothing happened, or the silence detector tells it.
  }
  Finding finding =
      MakeFinding(IncidentKind::kAgentLost, attempt_, before.heard);
  finding.culprit.node = state.node;
  finding.step = progress_.MaxStep();
  finding.severity = Severity::kWarning;
  finding.reason =
      fmt::format("The agent on {} was gone for {}; its ranks went on.",
                  state.node, HumanSeconds(now.mono - before.heard.mono));
  finding.evidence = {
      fmt::format("incarnation {:016x} became {:016x}, process {}",
                  before.incarnation.value, state.agent_incarnation.value,
                  state.agent_pid)};
  finding.signature = "agent_lost";
  Clearance clearance;
  clearance.kind = IncidentKind::kAgentLost;
  clearance.run = attempt_.run;
  clearance.culprit = finding.culprit;
  clearance.reason = "a new agent has taken its ranks over";
  pending_.findings.push_back(std::move(finding));
  pending_.cleared.push_back(std::move(clearance));
}

void RunWatch::ObserveExit(const RankExited& exit, Now now, Duration age) {
  if (exit.run != attempt_.run) return;
  if (exit.attempt == attempt_.attempt) progress_.ObserveExit(exit.rank);
  Add(crash_.ObserveExit(exit, now, age));
}

void RunWatch::ObserveFinished(const RankFinished& finished) {
  if (finished.run == attempt_.run && finished.attempt == attempt_.attempt) {
    crash_.ObserveFinished(finished.rank);
  }
}

void RunWatch::ObserveRow(const StepRow& row, Now now) {
  if (row.run != attempt_.run || row.attempt != attempt_.attempt) return;
  hang_.ObserveStep(row.step, row.step_seconds_max, now.mono);
  training_.ObserveRow(row, now, &pending_);
}

void RunWatch::ObserveShard(const CheckpointShard& shard, const NodeId& node,
                            Now now) {
  if (shard.run == attempt_.run) {
    Add(checkpoint_.ObserveShard(shard, node, now));
  }
}

void RunWatch::ObserveShardBad(const CheckpointShardBad& bad,
                               const NodeId& node, Now now) {
  if (bad.run == attempt_.run) Add(checkpoint_.ObserveBad(bad, node, now));
}

void RunWatch::ObserveCheck(AttemptId attempt, Step step,
                            const ShardCheck& check, const NodeId& node,
                            Now now) {
  Add(checkpoint_.ObserveCheck(attempt, step, check, node, now));
}

void RunWatch::ObserveCheckpointComplete(AttemptId attempt, Step step,
                                         double save_seconds, Now now) {
  if (attempt == attempt_.attempt) {
    training_.ObserveSave(step, save_seconds, now, &pending_);
  }
  std::ranges::move(checkpoint_.ObserveComplete(attempt, step, now.mono),
                    std::back_inserter(pending_.cleared));
}

void RunWatch::JudgeAfresh() {
  hang_.JudgeAfresh();
  silence_.JudgeAfresh();
}

void RunWatch::Settle(MonoTime now) {
  hang_.Settle(now + options_.silence.settle);
}

Verdicts RunWatch::Evaluate(const NodeHearing& hearing,
                            const RunSituation& situation, Now now) {
  if (situation.is_live || situation.is_stopping) {
    SilenceWitness witness;
    witness.step_seconds =
        std::max(hang_.MedianStepSeconds(), hang_.LongestOfLastSteps());
    witness.hang_deadline = hang_.DeadlineNow(progress_);
    for (NodeId& node : crash_.NodesWithExits()) {
      witness.exits_on.insert(std::move(node));
    }
    Verdicts silence = silence_.Evaluate(hearing, progress_, witness, now);
    for (Finding& finding : silence.findings) {
      pending_.findings.push_back(std::move(finding));
    }
    for (Clearance& clearance : silence.cleared) {
      // What is being stopped does not recover by itself.
      if (clearance.kind == IncidentKind::kNodeLost && !situation.is_live) {
        continue;
      }
      pending_.cleared.push_back(std::move(clearance));
    }
  }
  if (situation.is_live) {
    Add(crash_.Evaluate(now));
    if (!silence_.IsMassSilence() &&
        !silence_.IsCatchingUp(hearing, now.mono)) {
      Add(hang_.Evaluate(progress_, now));
    }
    if (auto clearance = hang_.Cleared(progress_)) {
      pending_.cleared.push_back(std::move(*clearance));
    }
    Add(checkpoint_.Evaluate(situation.is_running, situation.step, now));
  } else {
    checkpoint_.Evaluate(/*is_running=*/false, situation.step, now);
  }
  return Take();
}

Verdicts RunWatch::Take() {
  // Causes before what they cause, so that a reader in order opens the right
  // story first; a stable sort keeps the order of arrival otherwise.
  const auto place = [](const Finding& finding) {
    switch (finding.kind) {
      case IncidentKind::kNodeLost:
        return 0;
      case IncidentKind::kNan:
        return 1;
      case IncidentKind::kCrash:
        return 2;
      case IncidentKind::kStartFailed:
      case IncidentKind::kHang:
        return 3;
      case IncidentKind::kAgentLost:
      case IncidentKind::kCheckpointBad:
      case IncidentKind::kCheckpointOverdue:
      case IncidentKind::kStorage:
        return 4;
      default:
        return 5;
    }
  };
  std::ranges::stable_sort(pending_.findings, {}, place);
  return std::exchange(pending_, Verdicts());
}

}  // namespace steadyrun
