// What the server is told: reports in order of seq, and heartbeats.

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "agent/core/impl.h"
#include "spdlog/fmt/fmt.h"

namespace steadyrun::agent {

void AgentCore::Impl::Append(ReportBody body) {
  out_.effects.push_back(AppendReport{Report{next_seq_, std::move(body)}});
  next_seq_ = next_seq_.Next();
}

void AgentCore::Impl::Answer(CommandResult result) {
  if (!answers_.IsWorthReporting(result.command_id, result.outcome, acked_,
                                 now_.mono)) {
    return;
  }
  Log(fmt::format("command {}: {} {}", result.command_id,
                  CommandOutcomeName(result.outcome), result.message));
  answers_.Remember(result, next_seq_, now_.mono);
  Append(std::move(result));
}

void AgentCore::Impl::ReportExit(RankExited exit) {
  RankEntry* entry = table_.Find(exit.run, exit.attempt, exit.rank);
  if (entry == nullptr) {
    // An exit record of before this agent's start, of a rank not listed.
    RankState unknown;
    unknown.rank = exit.rank;
    unknown.attempt = exit.attempt;
    table_.Observe(exit.run, unknown, now_.mono);
    entry = table_.Find(exit.run, exit.attempt, exit.rank);
  }
  RankState& seen = entry->seen;
  if (seen.life == RankLife::kExited) return;
  exit.killed_by_agent =
      entry->kill_ordered && IsOrderedExit(exit.exit, entry->kill_grace);
  exit.step = std::max(exit.step, seen.step);
  // Only its own word tells what a rank was doing.
  if (seen.life == RankLife::kAlive) exit.phase = seen.phase;
  seen.life = RankLife::kExited;
  // By the wall clock, which may have been set meanwhile: not before its last
  // sign of life, nor in the future.
  entry->exited_at =
      std::clamp(now_.mono - (now_.wall - FromUnixMillis(exit.exit_unix_ms)),
                 std::min(entry->progress_since, now_.mono), now_.mono);
  seen.exit = exit.exit;
  seen.killed_by_agent = exit.killed_by_agent;
  seen.step = exit.step;
  seen.phase = exit.phase;
  is_beat_urgent_ = true;
  Log(fmt::format("run {} attempt {} rank {}: gone, {}{}", exit.run,
                  exit.attempt.value, exit.rank.value, DescribeExit(exit.exit),
                  exit.killed_by_agent ? ", as ordered" : ""));
  Append(std::move(exit));
}

// The server says what it has committed; the rest is sent (again).
void AgentCore::Impl::ResumeReports(ReportSeq resume_after) {
  if (resume_after >= next_seq_) {
    Log(
        fmt::format("server has report {}, but the newest here is {}: numbers "
                    "go on above the server's",
                    resume_after.value, next_seq_.value - 1));
    next_seq_ = resume_after.Next();
  }
  if (Is(CoreMutation::kDropsUnackedReports)) {
    resume_after = ReportSeq{next_seq_.value - 1};
  }
  const ReportSeq oldest = oldest_;
  acked_ = std::max(acked_, resume_after);
  oldest_ = std::max(oldest_, acked_.Next());
  out_.effects.push_back(DropReportsThrough{acked_});
  out_.effects.push_back(SendReportsFrom{acked_});
  if (resume_after.Next() < oldest) {
    Append(Gap{resume_after.Next(), ReportSeq{oldest.value - 1},
               "acknowledged to an earlier server, or lost with the spool"});
  }
}

void AgentCore::Impl::BeatIfDue() {
  if (!session_.is_welcomed) return;
  if (!is_beat_urgent_ && now_.mono < session_.next_heartbeat) return;
  is_beat_urgent_ = false;
  session_.next_heartbeat = now_.mono + session_.heartbeat_interval;
  out_.effects.push_back(SendHeartbeat{State(now_)});
}

NodeState AgentCore::Impl::State(Now now) const {
  NodeState state;
  state.node = options_.node;
  state.boot_id = boot_id_;
  state.agent_incarnation = options_.incarnation;
  state.agent_pid = options_.agent_pid;
  state.address = options_.address;
  state.metrics_address = options_.metrics_address;
  state.rendezvous_port = rendezvous_port_;
  state.spool_full = spool_.is_full;
  state.spooled_reports = spool_.spooled;
  state.dropped_reports = spool_.dropped;
  state.version = options_.version;
  for (const DurableRun& run : durable_.runs) {
    const bool is_shown = run.forgotten_epoch == 0 || table_.HasLive(run.run);
    if (!is_shown || state.runs.size() >= kMaxRuns) continue;
    state.runs.push_back({.run = run.run,
                          .floor = run.floor,
                          .started = run.started,
                          .ranks = table_.States(run.run, now.mono)});
  }
  if (options_.mutation == CoreMutation::kStoppedBeforeDead) {
    for (NodeRunState& run : state.runs) {
      for (RankState& rank : run.ranks) {
        if (rank.attempt < run.floor) rank.life = RankLife::kExited;
      }
    }
  }
  return state;
}

}  // namespace steadyrun::agent
