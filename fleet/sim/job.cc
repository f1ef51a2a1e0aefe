#include "fleet/sim/job.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <utility>

#include "fleet/sim/random.h"

namespace steadyrun::fleet {
namespace {

// Where the parts of a step end, as shares of it.
constexpr double kForwardEnd = 0.35;
constexpr double kBackwardEnd = 0.95;
// Phase changes a step: data, forward, backward, optimizer.
constexpr std::uint64_t kPhases = 4;

}  // namespace

Job::Job(JobOptions options)
    : options_(std::move(options)),
      maker_(options_.profile, options_.ranks, options_.seed) {}

std::int32_t Job::NodeOf(std::int32_t rank) const {
  return rank / options_.profile.job.ranks_per_node;
}

std::int32_t Job::Nodes() const { return NodeOf(options_.ranks - 1) + 1; }

std::pair<std::int32_t, std::int32_t> Job::RanksOf(std::int32_t node) const {
  const std::int32_t per_node = options_.profile.job.ranks_per_node;
  return {node * per_node, std::min((node + 1) * per_node, options_.ranks)};
}

void Job::Begin(AttemptId attempt, std::vector<NodeId> rank_nodes, Step resume,
                Now now) {
  End();
  attempt_ = attempt;
  rank_nodes_ = std::move(rank_nodes);
  begun_ = now;
  step_ = std::max(resume, Step{0});
  step_begin_ = now.mono + FromSeconds(options_.profile.job.start_seconds);
  Later(step_begin_,
        [this](MonoTime at, std::vector<Happening>*) { BeginStep(at); });
}

void Job::End() {
  todos_.clear();
  ends_.clear();
  silent_.clear();
  orders_.clear();
  is_blocked_ = false;
  has_moment_ = false;
  hang_ = HangMark::kNone;
  hung_rank_ = -1;
  made_ = 0;
  pause_phase_ = Phase::kUnspecified;
  pause_seconds_ = 0;
  attempt_ = kNoAttempt;
}

MonoTime Job::NextAt() const {
  return todos_.empty() ? MonoTime::max() : todos_.begin()->first;
}

void Job::Advance(MonoTime now, std::vector<Happening>* out) {
  while (!todos_.empty() && todos_.begin()->first <= now) {
    auto node = todos_.extract(todos_.begin());
    node.mapped()(node.key(), out);
  }
}

bool Job::IsInEffect(const Fault& fault, Step step) const {
  if (!fault.has_struck || step < fault.onset || StopsTheJob(fault.kind)) {
    return false;
  }
  if (fault.steps > 0 && step.value >= fault.onset.value + fault.steps) {
    return false;
  }
  const bool is_of_machines = fault.kind == FaultKind::kStraggler ||
                              fault.kind == FaultKind::kSlowdown ||
                              fault.kind == FaultKind::kDataStall ||
                              fault.kind == FaultKind::kCheckpointSlow;
  // What sits in the parameters or the data is gone with the attempt; what
  // sits in a machine is gone with the machine.
  if (!is_of_machines) return fault.attempt == attempt_;
  return fault.rank == kNoRank ||
         rank_nodes_[static_cast<std::size_t>(fault.rank.value)] == fault.node;
}

void Job::Note(Fault& fault, MonoTime now) {
  fault.has_struck = true;
  fault.attempt = attempt_;
  fault.struck = now;
  // A plan may lie behind what a recovery made again.
  fault.onset = step_.Next();
  if (fault.rank != kNoRank) {
    fault.node = rank_nodes_[static_cast<std::size_t>(fault.rank.value)];
  }
}

void Job::BeginStep(MonoTime now) {
  const Step step = step_.Next();
  step_begin_ = now + FromSeconds(pause_seconds_);
  pause_begin_ = now;
  std::vector<const Fault*> active;
  Fault* stopper = nullptr;
  std::vector<Fault*> moments;  // Strike within the step.
  for (Fault& fault : options_.faults) {
    if (!fault.has_struck && fault.onset <= step) {
      if (StopsTheJob(fault.kind) || fault.kind == FaultKind::kAgentLost) {
        moments.push_back(&fault);
        if (StopsTheJob(fault.kind) && stopper == nullptr) stopper = &fault;
        continue;
      }
      Note(fault, step_begin_);
    }
    if (!IsInEffect(fault, step)) continue;
    active.push_back(&fault);
    fault.last = std::max(fault.last, step);
  }
  const double seconds =
      maker_.Make({attempt_, step, made_, pause_seconds_, active}, &row_);
  row_.run = options_.run;
  step_seconds_ = seconds - pause_seconds_;
  has_moment_ = !moments.empty();
  for (Fault* fault : moments) {
    // One thing stops an attempt; others wait for the next, but for those of
    // the very same moment (a rack).
    if (StopsTheJob(fault->kind) && fault != stopper &&
        (fault->kind != stopper->kind || fault->variant != stopper->variant)) {
      continue;
    }
    const double share = 0.1 + 0.8 * fault->variant;
    Later(step_begin_ + FromSeconds(share * step_seconds_),
          [this, fault](MonoTime at, std::vector<Happening>* out) {
            Strike(*fault, at, out);
          });
  }
  if (stopper != nullptr) {
    is_blocked_ = true;
    return;
  }
  Later(now + FromSeconds(seconds),
        [this](MonoTime at, std::vector<Happening>* out) {
          CompleteStep(at, out);
        });
}

void Job::CompleteStep(MonoTime now, std::vector<Happening>* out) {
  if (is_blocked_) return;  // Something was killed meanwhile.
  step_ = row_.step;
  ++made_;
  row_.ended = WallAt(now);
  out->push_back({now, -1, std::move(row_)});
  row_ = StepRow{};
  pause_phase_ = Phase::kUnspecified;
  pause_seconds_ = 0;
  const Phases& phases = options_.profile.phases;
  const auto is_due = [this](std::int64_t every) {
    return every > 0 && step_.value % every == 0;
  };
  const auto order = orders_.find(step_);
  const bool is_ordered = order != orders_.end();
  if (is_due(phases.checkpoint_steps) || is_ordered) {
    double seconds = phases.checkpoint_seconds;
    for (const Fault& fault : options_.faults) {
      if (fault.kind == FaultKind::kCheckpointSlow &&
          IsInEffect(fault, step_)) {
        seconds *= fault.severity;
      }
    }
    Save(seconds, is_ordered && order->second, now);
  } else if (is_due(phases.evaluation_steps)) {
    pause_phase_ = Phase::kEvaluation;
    pause_seconds_ = phases.evaluation_seconds;
  }
  orders_.erase(orders_.begin(), orders_.upper_bound(step_));
  if (step_.value >= options_.steps) {
    // After its last save.
    Later(now + FromSeconds(pause_seconds_),
          [this](MonoTime at, std::vector<Happening>* more) {
            Finish(at, more);
          });
  } else if (!is_blocked_) {
    BeginStep(now);
  }
}

void Job::Save(double seconds, bool then_stop, MonoTime now) {
  pause_phase_ = Phase::kCheckpoint;
  pause_seconds_ = seconds;
  if (then_stop) is_blocked_ = true;
  Later(now + FromSeconds(seconds),
        [this, seconds, then_stop, step = step_](MonoTime at,
                                                 std::vector<Happening>* out) {
          if (!ends_.empty()) return;  // Somebody died over it.
          saved_ = std::max(saved_, step);
          for (std::int32_t rank = 0; rank < options_.ranks; ++rank) {
            CheckpointShard shard;
            shard.run = options_.run;
            shard.attempt = attempt_;
            shard.step = step;
            shard.rank = Rank{rank};
            shard.path = fmt::format("{}/attempt-{}/step-{}/rank-{}",
                                     options_.checkpoint_directory,
                                     attempt_.value, step.value, rank);
            shard.size_bytes = 1 << 20;
            Random digest(options_.seed, static_cast<std::uint64_t>(step.value),
                          static_cast<std::uint64_t>(rank));
            for (int i = 0; i < 4; ++i) {
              shard.sha256 += fmt::format("{:016x}", digest.Next());
            }
            shard.shards = options_.ranks;
            shard.saved_unix_ms = ToUnixMillis(WallAt(at));
            shard.save_seconds = seconds;
            out->push_back({at, NodeOf(rank), std::move(shard)});
          }
          if (!then_stop) return;
          for (std::int32_t rank = 0; rank < options_.ranks; ++rank) {
            EndRank(rank, RankExited{}, at);
          }
        });
}

void Job::Finish(MonoTime now, std::vector<Happening>* out) {
  is_finished_ = true;
  is_blocked_ = true;
  if (!ends_.empty()) return;  // Told to leave after the last save.
  for (std::int32_t rank = 0; rank < options_.ranks; ++rank) {
    out->push_back({now, NodeOf(rank),
                    RankFinished{options_.run, attempt_, Rank{rank}, step_,
                                 fmt::format("{:064x}", options_.seed)}});
    EndRank(rank, RankExited{}, now);
  }
}

bool Job::OrderSave(Step step, bool then_stop) {
  if (step <= step_ || attempt_ == kNoAttempt) return false;
  orders_[step] = then_stop;
  return true;
}

std::vector<RankExited> Job::KillNode(std::int32_t node, MonoTime now) {
  std::vector<RankExited> exits;
  if (attempt_ == kNoAttempt) return exits;
  is_blocked_ = true;
  const auto [first, last] = RanksOf(node);
  for (std::int32_t rank = first; rank < last; ++rank) {
    const auto known = ends_.find(rank);
    if (known != ends_.end() && known->second.at <= now) continue;
    RankExited exit;
    exit.run = options_.run;
    exit.attempt = attempt_;
    exit.rank = Rank{rank};
    exit.exit = {0, 9};
    exit.killed_by_agent = true;
    exit.step = ShownStep();
    exit.phase = StateOf(rank, now).phase;
    exit.exit_unix_ms = ToUnixMillis(WallAt(now));
    ends_[rank] = {now, exit.exit, true};
    exits.push_back(std::move(exit));
  }
  return exits;
}

bool Job::IsSilent(std::int32_t node, MonoTime now) const {
  const auto silent = silent_.find(node);
  return silent != silent_.end() && now >= silent->second.from &&
         now < silent->second.until;
}

bool Job::IsDisturbed(MonoTime now) const {
  return is_blocked_ || has_moment_ || !ends_.empty() ||
         std::ranges::any_of(silent_, [now](const auto& silent) {
           return now < silent.second.until + std::chrono::seconds(5);
         });
}

RankState Job::StateOf(std::int32_t rank, MonoTime now) const {
  RankState state;
  state.rank = Rank{rank};
  state.local_rank = rank - RanksOf(NodeOf(rank)).first;
  state.attempt = attempt_;
  state.life = RankLife::kAlive;
  state.pid = 1000 + rank;
  state.step = ShownStep();
  state.process_state = 'R';
  const bool is_hung = rank == hung_rank_;
  const MonoTime seen = is_hung ? std::min(now, hung_at_) : now;
  // Where in the step: the hung rank stays where it was, and the others get
  // no further than the collective that it does not join.
  double share = ToSeconds(seen - step_begin_) / step_seconds_;
  MonoTime since = step_begin_;
  const auto reach = [&](double from, Phase phase, std::uint64_t change) {
    if (share < from) return;
    since = step_begin_ + FromSeconds(from * step_seconds_);
    state.phase = phase;
    state.phase_seq =
        static_cast<std::uint64_t>(step_.value) * kPhases + change;
  };
  if (hang_ != HangMark::kNone && now >= hung_at_) {
    const bool is_marked =
        hang_ == HangMark::kPhase || hang_ == HangMark::kData;
    share = std::min(share, is_marked && !is_hung ? kBackwardEnd - 0.01
                                                  : kForwardEnd - 0.01);
    if (hang_ == HangMark::kData && is_hung) share = 0;
  } else if (is_blocked_) {
    share = std::min(share, kBackwardEnd - 0.01);
  }
  if (made_ == 0 && now < step_begin_) {
    state.phase = Phase::kStartup;
    since = begun_.mono;
  } else if (share < 0) {
    state.phase = pause_phase_;
    state.phase_seq =
        static_cast<std::uint64_t>(step_.value) * kPhases + kPhases;
    since = pause_begin_;
  } else {
    reach(0, Phase::kData, 1);
    reach(options_.profile.job.data_share, Phase::kForward, 2);
    reach(kForwardEnd, Phase::kBackward, 3);
    reach(kBackwardEnd, Phase::kOptimizer, 4);
  }
  state.phase_age = std::max(Duration::zero(), now - since);
  state.progress_age = state.phase_age;
  // Waiting ranks spin; a hung one often does not.
  const bool is_idle =
      is_hung && (hang_ == HangMark::kStopped || hang_ == HangMark::kCpu ||
                  hang_ == HangMark::kData);
  if (is_hung && hang_ == HangMark::kStopped && now >= hung_at_) {
    state.process_state = 'T';
  }
  state.cpu_seconds = ToSeconds((is_idle ? seen : now) - begun_.mono);
  const auto end = ends_.find(rank);
  if (end != ends_.end() && end->second.at <= now) {
    state.life = RankLife::kExited;
    state.exit = end->second.exit;
    state.killed_by_agent = end->second.by_agent;
    state.exit_age = now - end->second.at;
    state.process_state = 0;
  }
  return state;
}

WallTime Job::WallAt(MonoTime at) const {
  return begun_.wall + std::chrono::duration_cast<std::chrono::milliseconds>(
                           at - begun_.mono);
}

}  // namespace steadyrun::fleet
