#include "tests/simulation/chaos.h"

#include <algorithm>
#include <utility>

namespace steadyrun::sim {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

void Chaos::Begin() {
  for (std::size_t kind = 0; kind < kFaultKinds; ++kind) {
    ScheduleNext(static_cast<FaultKind>(kind));
  }
  if (parts_.context.faults.during_recovery > 0) WatchRecoveries();
}

void Chaos::ScheduleNext(FaultKind kind) {
  const Duration mean = parts_.context.faults[kind];
  if (mean == Duration(0)) return;
  parts_.context.queue.After(random().Exponential(mean), [this, kind] {
    if (is_healed_) return;
    Inject(kind);
    ScheduleNext(kind);
  });
}

void Chaos::WatchRecoveries() {
  parts_.context.queue.After(milliseconds(200), [this] {
    if (is_healed_) return;
    for (const RunId& name : parts_.runs) {
      const RunState* run = parts_.server.store().FindRun(name);
      if (run == nullptr || IsEnded(run->phase)) continue;
      if (run->phase == RunPhase::kRunning) continue;
      if (!random().Chance(parts_.context.faults.during_recovery)) continue;
      const auto kind = static_cast<FaultKind>(random().Index(kFaultKinds));
      // Those that make every later attempt fail would end it all too soon.
      if (kind == FaultKind::kCrashAtStep || kind == FaultKind::kNanAtStep) {
        continue;
      }
      Inject(kind);
    }
    WatchRecoveries();
  });
}

int Chaos::RandomRank() {
  const std::vector<int>& live = parts_.cluster.Live();
  return live.empty() ? -1 : live[random().Index(live.size())];
}

int Chaos::RandomNode() {
  return static_cast<int>(random().Index(parts_.agents.size()));
}

RunId Chaos::RandomRun() {
  return parts_.runs[random().Index(parts_.runs.size())];
}

void Chaos::Inject(FaultKind kind) {
  SimContext& context = parts_.context;
  ++context.injected[static_cast<std::size_t>(kind)];
  context.trace.Line(context.now(), "fault", "{}", FaultName(kind));
  switch (kind) {
    case FaultKind::kKillRank:
    case FaultKind::kExitRank:
    case FaultKind::kStopRank:
    case FaultKind::kHangRank:
    case FaultKind::kNan:
      if (const int rank = RandomRank(); rank >= 0) InjectIntoRank(kind, rank);
      return;
    case FaultKind::kSlowRank: {
      const RunId run = RandomRun();
      // By less than twice at a time: a run that becomes slower than that just
      // when a node falls silent cannot be told from one that stands still.
      const double first = 1.0 + 0.6 * random().Unit();
      const double second = first * (1.0 + 0.6 * random().Unit());
      parts_.cluster.SlowDown(run, first);
      context.queue.After(seconds(20), [this, run, second] {
        parts_.cluster.SlowDown(run, second);
      });
      context.queue.After(random().Time(seconds(40), seconds(90)),
                          [this, run] { parts_.cluster.SlowDown(run, 1.0); });
      return;
    }
    case FaultKind::kLongPhase: {
      constexpr Phase kPhases[] = {Phase::kCheckpoint, Phase::kEvaluation,
                                   Phase::kCompile};
      parts_.cluster.LongPhase(RandomRun(), kPhases[random().Index(3)],
                               random().Time(seconds(5), seconds(150)));
      return;
    }
    case FaultKind::kCrashAtStep:
    case FaultKind::kNanAtStep: {
      const RunId run = RandomRun();
      const RunState* state = parts_.server.store().FindRun(run);
      if (state == nullptr) return;
      const Step step{state->max_step.value + random().Int(1, 60)};
      if (kind == FaultKind::kCrashAtStep) {
        parts_.cluster.CrashAtStep(run, step);
      } else {
        parts_.cluster.NanAtStep(run, step);
      }
      return;
    }
    case FaultKind::kCorruptCheckpoint:
      parts_.cluster.CorruptNewest(RandomRun());
      return;
    case FaultKind::kOperator:
      parts_.people.Act(RandomRun(), static_cast<int>(parts_.agents.size()));
      return;
    case FaultKind::kKillServer:
    case FaultKind::kPauseServer:
    case FaultKind::kServerDisk:
      InjectIntoService(kind);
      return;
    case FaultKind::kClockJump: {
      const std::int64_t ms = random().Int(-86'400'000, 86'400'000);
      const int who =
          static_cast<int>(random().Index(parts_.agents.size() + 1));
      HostClock& clock =
          who == 0 ? parts_.server.clock() : parts_.agents[who - 1]->clock();
      clock.wall_offset_ms += ms;
      return;
    }
    case FaultKind::kCutNode:
    case FaultKind::kCutOneWay:
    case FaultKind::kCutMany:
    case FaultKind::kBreakStream:
      InjectIntoNetwork(kind);
      return;
    default:
      InjectIntoNode(kind, RandomNode());
      return;
  }
}

void Chaos::InjectIntoRank(FaultKind kind, int rank) {
  SimCluster& cluster = parts_.cluster;
  switch (kind) {
    case FaultKind::kKillRank:
      cluster.KillRank(rank);
      return;
    case FaultKind::kExitRank:
      cluster.ExitRank(
          rank, fmt::format("ValueError: chance {}", random().Int(0, 99)));
      return;
    case FaultKind::kStopRank:
      cluster.StopRank(rank);
      if (random().Chance(0.4)) {
        parts_.context.queue.After(
            random().Time(milliseconds(300), seconds(20)),
            [this, rank] { parts_.cluster.ContinueRank(rank); });
      }
      return;
    case FaultKind::kHangRank:
      cluster.HangRank(rank);
      return;
    default:
      cluster.PoisonRank(rank);
      return;
  }
}

void Chaos::CrashNode(int node, bool wipe) {
  if (!parts_.cluster.IsUp(node)) return;
  parts_.agents[node]->Crash();
  parts_.network.NodeVanished(node);
  parts_.cluster.CrashNode(node);
  parts_.agents[node]->Reboot(wipe);
  parts_.context.queue.After(random().Time(seconds(2), seconds(120)),
                             [this, node] {
                               parts_.cluster.BootNode(node);
                               parts_.agents[node]->Start();
                             });
}

void Chaos::InjectIntoNode(FaultKind kind, int node) {
  SimContext& context = parts_.context;
  SimAgent& agent = *parts_.agents[node];
  switch (kind) {
    case FaultKind::kKillAgent:
      if (!agent.IsRunning() || parts_.cluster.IsPaused(node)) return;
      agent.Crash();
      context.queue.After(random().Time(milliseconds(200), seconds(12)),
                          [this, node] { parts_.agents[node]->Start(); });
      return;
    case FaultKind::kCrashNode:
      CrashNode(node, false);
      return;
    case FaultKind::kReimageNode:
      CrashNode(node, true);
      return;
    case FaultKind::kWipeState:
    case FaultKind::kLoseSpool:
      if (!agent.IsRunning() || parts_.cluster.IsPaused(node)) return;
      agent.Crash();
      if (kind == FaultKind::kWipeState) {
        agent.WipeState();
      } else {
        agent.LoseSpool();
      }
      context.queue.After(random().Time(milliseconds(200), seconds(12)),
                          [this, node] { parts_.agents[node]->Start(); });
      return;
    case FaultKind::kPauseNode:
      if (!parts_.cluster.IsUp(node)) return;
      parts_.cluster.PauseNode(node);
      context.queue.After(random().Time(milliseconds(500), seconds(60)),
                          [this, node] {
                            parts_.cluster.ResumeNode(node);
                            parts_.agents[node]->OnNodeResumed();
                            parts_.network.WakeAgent(node);
                          });
      return;
    case FaultKind::kUnkillable:
      parts_.cluster.MakeUnkillable(
          node, context.now() + random().Time(seconds(1), seconds(30)));
      return;
    case FaultKind::kAgentDisk:
      agent.FailDiskUntil(context.now() +
                          random().Time(seconds(1), seconds(30)));
      return;
    case FaultKind::kAgentSpoolFull:
      agent.FillSpoolUntil(context.now() +
                           random().Time(seconds(1), seconds(30)));
      return;
    case FaultKind::kTrainingCut:
      parts_.cluster.CutTraining(node, true);
      context.queue.After(
          random().Time(milliseconds(200), seconds(25)),
          [this, node] { parts_.cluster.CutTraining(node, false); });
      return;
    case FaultKind::kSpawnFails:
      parts_.cluster.FailNextSpawn(node);
      return;
    case FaultKind::kResend:
      agent.ResendFrom(static_cast<std::uint64_t>(random().Int(1, 60)));
      return;
    case FaultKind::kStaleServer:
      agent.MeetStaleServer();
      parts_.network.Reset(node);
      return;
    case FaultKind::kLateCommand:
      agent.DeliverLateCommands();
      return;
    case FaultKind::kEarlyStart:
      agent.ExpectEarlyStart();
      return;
    default:
      return;
  }
}

void Chaos::InjectIntoService(FaultKind kind) {
  SimContext& context = parts_.context;
  switch (kind) {
    case FaultKind::kKillServer:
      if (!parts_.server.IsRunning()) return;
      parts_.server.Crash();
      context.queue.After(random().Time(milliseconds(300), seconds(15)),
                          [this] { parts_.server.Start(); });
      return;
    case FaultKind::kPauseServer:
      parts_.server.Pause();
      context.queue.After(random().Time(milliseconds(200), seconds(40)),
                          [this] { parts_.server.Resume(); });
      return;
    default:
      parts_.server.FailCommitsUntil(
          context.now() + random().Time(milliseconds(100), seconds(25)));
      return;
  }
}

void Chaos::InjectIntoNetwork(FaultKind kind) {
  SimContext& context = parts_.context;
  const int node = RandomNode();
  if (kind == FaultKind::kBreakStream) {
    parts_.network.Reset(node);
    return;
  }
  std::vector<int> nodes = {node};
  bool up = true;
  bool down = true;
  if (kind == FaultKind::kCutMany) {
    const double share = random().Chance(0.5) ? 1.0 : 0.6;
    nodes.clear();
    for (int i = 0; i < static_cast<int>(parts_.agents.size()); ++i) {
      if (random().Chance(share)) nodes.push_back(i);
    }
  } else if (kind == FaultKind::kCutOneWay) {
    up = random().Chance(0.5);
    down = !up;
  }
  const Duration length = random().Chance(0.5)
                              ? random().Time(milliseconds(200), seconds(8))
                              : random().Time(seconds(8), seconds(90));
  for (const int each : nodes) {
    parts_.network.Cut(each, up, down);
    context.queue.After(length, [this, each] { parts_.network.Heal(each); });
  }
}

void Chaos::Heal() {
  is_healed_ = true;
  parts_.context.trace.Line(parts_.context.now(), "fault", "all is healed");
  for (FaultKind kind : {FaultKind::kKillAgent, FaultKind::kKillServer}) {
    parts_.context.faults[kind] = Duration(0);
  }
  parts_.context.faults.slow_message = 0;
  for (const RunId& run : parts_.runs) {
    parts_.cluster.CrashAtStep(run, std::nullopt);
    parts_.cluster.NanAtStep(run, std::nullopt);
    parts_.cluster.SlowDown(run, 1.0);
  }
  parts_.server.FailCommitsUntil(Duration(0));
  parts_.server.Resume();
  parts_.server.Start();
  for (int node = 0; node < static_cast<int>(parts_.agents.size()); ++node) {
    SimAgent& agent = *parts_.agents[node];
    agent.FailDiskUntil(Duration(0));
    agent.FillSpoolUntil(Duration(0));
    parts_.cluster.BootNode(node);
    parts_.cluster.CutTraining(node, false);
    parts_.cluster.MakeUnkillable(node, Duration(0));
    if (parts_.cluster.IsPaused(node)) {
      parts_.cluster.ResumeNode(node);
      agent.OnNodeResumed();
      parts_.network.WakeAgent(node);
    }
    parts_.network.Heal(node);
    agent.Start();
    parts_.people.Order("", OperatorAction::kRelease, agent.name());
  }
}

}  // namespace steadyrun::sim
