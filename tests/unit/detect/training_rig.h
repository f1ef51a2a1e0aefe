#pragma once

// A training run in virtual time, as the detectors see it: heartbeats every
// 500 ms, a tick every 100 ms, rows when a step ends. Tests bend it.

#include <cmath>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/detect/run_watch.h"

namespace steadyrun {

class TrainingRig {
 public:
  explicit TrainingRig(int nodes = 2, int ranks_per_node = 2,
                       const DetectOptions& options = {})
      : watch(options), hearing(MonoTime{}) {
    attempt.run = "run";
    attempt.attempt = AttemptId{1};
    for (int node = 0; node < nodes; ++node) {
      for (int local = 0; local < ranks_per_node; ++local) {
        attempt.rank_nodes.push_back(NodeName(node));
      }
    }
    now.mono = MonoTime{std::chrono::hours(1)};
    now.wall = WallTime{std::chrono::hours(500000)};
    hearing = NodeHearing(now.mono);
    Restart(attempt.attempt);
    Pass(std::chrono::seconds(4));  // Over the settling.
  }

  static NodeId NodeName(int node) { return "n" + std::to_string(node); }

  // A new attempt on the same nodes.
  void Restart(AttemptId id) {
    attempt.attempt = id;
    watch.Begin(attempt, now);
    ranks.assign(attempt.rank_nodes.size(), RankState());
    advanced.assign(ranks.size(), now.mono);
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      ranks[r].rank = Rank{static_cast<std::int32_t>(r)};
      ranks[r].attempt = id;
      ranks[r].life = RankLife::kAlive;
      ranks[r].process_state = 'S';
    }
    step = Step{-1};
    situation.is_live = true;
  }

  void Heartbeat(const NodeId& node) {
    NodeState state;
    state.node = node;
    state.agent_incarnation = incarnation;
    NodeRunState run;
    run.run = attempt.run;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      if (attempt.rank_nodes[r] != node) continue;
      ranks[r].progress_age = now.mono - advanced[r];
      run.ranks.push_back(ranks[r]);
    }
    state.runs.push_back(run);
    state.spool_full = full_spools.contains(node);
    hearing.Heard(node, now.mono);
    watch.ObserveNode(state, now);
  }

  void Tick() {
    constexpr Duration kTick = std::chrono::milliseconds(100);
    now.mono += kTick;
    now.wall += std::chrono::milliseconds(100);
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      if (busy.contains(static_cast<int>(r))) ranks[r].cpu_seconds += 0.1;
    }
    if (++ticks % 5 == 0) {
      std::set<NodeId> nodes(attempt.rank_nodes.begin(),
                             attempt.rank_nodes.end());
      for (const NodeId& node : nodes) {
        if (!cut.contains(node)) Heartbeat(node);
      }
    }
    if (hearing.Tick(now.mono)) watch.Settle(now.mono);
    situation.is_running = step.value >= 0;
    situation.step = step;
    Keep(watch.Evaluate(hearing, situation, now));
  }

  void Keep(Verdicts verdicts) {
    for (Finding& finding : verdicts.findings) {
      found_at.push_back(now.mono);
      findings.push_back(std::move(finding));
    }
    for (Clearance& clearance : verdicts.cleared) {
      cleared.push_back(std::move(clearance));
    }
  }

  // Time goes by and no rank advances.
  void Pass(Duration duration) {
    const MonoTime end = now.mono + duration;
    while (now.mono < end) Tick();
  }
  // The same, ended by the first finding; how long it took, or nothing.
  std::optional<Duration> PassUntilFound(Duration limit) {
    const MonoTime begin = now.mono;
    while (now.mono - begin < limit) {
      Tick();
      if (!findings.empty()) return now.mono - begin;
    }
    return std::nullopt;
  }

  void Advance(std::size_t r) { advanced[r] = now.mono; }

  // All ranks that are not frozen complete a step of this length.
  void MakeStep(Duration duration) {
    Pass(duration);
    CompleteStep(ToSeconds(duration));
  }
  void Steps(int count, Duration duration) {
    for (int i = 0; i < count; ++i) MakeStep(duration);
  }
  void CompleteStep(double seconds) {
    step = step.Next();
    StepRow row;
    row.run = attempt.run;
    row.attempt = attempt.attempt;
    row.step = step;
    row.world_size = static_cast<std::int32_t>(ranks.size());
    row.step_seconds = seconds;
    row.step_seconds_max = seconds;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      if (frozen.contains(static_cast<int>(r))) continue;
      ranks[r].step = step;
      if (ranks[r].phase == Phase::kStartup) ranks[r].phase = Phase::kStep;
      Advance(r);
    }
    if (frozen.empty()) watch.ObserveRow(row, now);
  }
  void EnterPhase(Phase phase) {
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      if (frozen.contains(static_cast<int>(r))) continue;
      ranks[r].phase = phase;
      ++ranks[r].phase_seq;
      Advance(r);
    }
  }

  std::optional<Finding> First(IncidentKind kind) const {
    for (const Finding& finding : findings) {
      if (finding.kind == kind) return finding;
    }
    return std::nullopt;
  }
  // For messages of failed expectations.
  std::string Story() const {
    std::string story;
    for (const Finding& finding : findings) {
      story += std::string(IncidentKindName(finding.kind)) + ": " +
               finding.reason + "\n";
      for (const std::string& line : finding.evidence) {
        story += "    " + line + "\n";
      }
    }
    return story;
  }

  WatchedAttempt attempt;
  RunWatch watch;
  NodeHearing hearing;
  RunSituation situation;
  Now now{};
  Step step{-1};
  std::vector<RankState> ranks;
  std::vector<MonoTime> advanced;
  std::set<int> frozen;  // Ranks that make no steps.
  std::set<int> busy;    // Ranks that use a whole core.
  std::set<NodeId> cut;  // Nodes nobody hears.
  std::set<NodeId> full_spools;
  Incarnation incarnation{1};
  std::int64_t ticks = 0;
  std::vector<Finding> findings;
  std::vector<MonoTime> found_at;
  std::vector<Clearance> cleared;
};

}  // namespace steadyrun
