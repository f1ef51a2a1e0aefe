#include "fleet/sim/trial.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <utility>

#include "server/engine/step_join.h"

namespace steadyrun::fleet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kTick = milliseconds(100);
constexpr Duration kHeartbeat = milliseconds(500);
// From the finding until all ranks that can be reached are gone.
constexpr Duration kStopTime = seconds(1);
// A silent node is lost by then, or it was not the story.
constexpr Duration kLongestStop = seconds(90);
constexpr MonoTime kStart{seconds(1'000)};
constexpr std::int64_t kProgressSteps = 64;
// A run's budget of restarts would be used up long before.
constexpr std::int32_t kMostFollowed = 64;

}  // namespace

Trial::Trial(TrialOptions options)
    : options_(std::move(options)),
      job_(options_.job),
      watch_(options_.detect),
      book_(options_.job.run, 0),
      hearing_(kStart - seconds(60)) {
  result_.start = kStart;
  result_.wall_start = FromUnixMillis(1'767'225'600'000);  // 2026-01-01.
  const std::int32_t nodes = job_.Nodes();
  for (std::int32_t rank = 0; rank < options_.job.ranks; ++rank) {
    rank_nodes_.push_back(fmt::format("node-{:05}", job_.NodeOf(rank)));
  }
  states_.resize(static_cast<std::size_t>(nodes));
}

Now Trial::At(MonoTime mono) const {
  return {mono, result_.wall_start + std::chrono::duration_cast<milliseconds>(
                                         mono - result_.start)};
}

void Trial::BeginAttempt(Step resume, Now now) {
  attempt_ = attempt_.Next();
  stopping_.reset();
  is_stopped_ = false;
  left_out_.clear();
  below_ = kNoStep;
  job_.Begin(attempt_, rank_nodes_, resume, now);
  result_.resumed_from.push_back(resume);
  WatchedAttempt watched;
  watched.run = options_.job.run;
  watched.attempt = attempt_;
  watched.rank_nodes = rank_nodes_;
  watched.target_steps = options_.job.steps;
  watch_.Begin(watched, now);
  for (std::int32_t node = 0; node < job_.Nodes(); ++node) {
    NodeState& state = states_[static_cast<std::size_t>(node)];
    const auto [first, last] = job_.RanksOf(node);
    state.node = rank_nodes_[static_cast<std::size_t>(first)];
    state.agent_incarnation = Incarnation{static_cast<std::uint64_t>(node) + 1};
    state.runs.resize(1);
    state.runs[0].run = options_.job.run;
    state.runs[0].floor = attempt_;
    state.runs[0].started = attempt_;
    state.runs[0].ranks.resize(static_cast<std::size_t>(last - first));
  }
  Beat(now.mono);
  next_beat_ = now.mono;
  next_tick_ = now.mono;
}

TrialResult Trial::Run() {
  BeginAttempt(kNoStep, At(kStart));
  MonoTime now = kStart;
  while (!job_.IsFinished() && !is_asked_to_stop_) {
    MonoTime next = job_.NextAt();
    const bool is_close = stopping_.has_value() || job_.IsDisturbed(now);
    if (is_close) {
      next = std::min(next, std::max(now, next_tick_));
    } else if (options_.beat > Duration::zero()) {
      next = std::min(next, std::max(now, next_beat_));
    }
    if (next == MonoTime::max()) break;
    now = std::max(now, next);
    AdvanceTo(now);
    if (is_close && now >= next_tick_) {
      next_tick_ = now + kTick;
      if (now >= next_beat_) {
        next_beat_ = now + kHeartbeat;
        Beat(now);
      }
      Evaluate(now);
      MaybeRestart(now);
    } else if (!is_close && options_.beat > Duration::zero() &&
               now >= next_beat_) {
      next_beat_ = now + options_.beat;
      Beat(now);
      Evaluate(now);
    }
  }
  book_.CloseAll("the run is over", true, At(now));
  CollectIncidents();
  result_.faults = job_.Faults();
  result_.simulated = now - result_.start;
  result_.attempts = static_cast<std::int32_t>(attempt_.value);
  return std::move(result_);
}

void Trial::AdvanceTo(MonoTime now) {
  happenings_.clear();
  job_.Advance(now, &happenings_);
  for (Happening& happening : happenings_) Deliver(happening);
}

void Trial::Deliver(Happening& happening) {
  const MonoTime at = happening.at;
  if (auto* row = std::get_if<StepRow>(&happening.what)) {
    TakeRow(std::move(*row), at);
    return;
  }
  if (is_stopped_ || job_.IsSilent(happening.node, at)) return;
  const NodeState& node = states_[static_cast<std::size_t>(happening.node)];
  if (auto* exit = std::get_if<RankExited>(&happening.what)) {
    // Its age on the node's own clock is what the agent would send with it.
    const RankState state = job_.StateOf(exit->rank.value, at);
    hearing_.Heard(node.node, at);
    watch_.ObserveExit(*exit, At(at), state.exit_age);
  } else if (auto* shard = std::get_if<CheckpointShard>(&happening.what)) {
    watch_.ObserveShard(*shard, node.node, At(at));
    if (shard->rank.value == options_.job.ranks - 1) {
      saved_.push_back(shard->step);
      watch_.ObserveCheckpointComplete(shard->attempt, shard->step,
                                       shard->save_seconds, At(at));
    }
  } else if (auto* finished = std::get_if<RankFinished>(&happening.what)) {
    watch_.ObserveFinished(*finished);
  }
  Take(watch_.Take(), at);
}

void Trial::TakeRow(StepRow row, MonoTime at) {
  if (is_stopped_) return;
  const auto world = static_cast<std::size_t>(options_.job.ranks);
  for (std::int32_t node = 0; node < job_.Nodes(); ++node) {
    if (!job_.IsSilent(node, at)) continue;
    // Its agent does not bring these; the row closes without them.
    const auto [first, last] = job_.RanksOf(node);
    for (std::size_t m = 0; m < row.metrics.size(); ++m) {
      std::fill(
          row.values.begin() + static_cast<std::ptrdiff_t>(m * world) + first,
          row.values.begin() + static_cast<std::ptrdiff_t>(m * world) + last,
          AbsentValue());
    }
    row.is_complete = false;
  }
  Summarize(&row, &scratch_);
  if (options_.on_row) options_.on_row(row, at - result_.start);
  watch_.ObserveRow(row, At(at));
  ++result_.rows;
  if (row.step.value % kProgressSteps == 0 && options_.progress &&
      !options_.progress(row.step)) {
    is_asked_to_stop_ = true;
  }
  Beat(at);
  Take(watch_.Take(), at);
  if (!stopping_.has_value() && !job_.IsDisturbed(at)) Evaluate(at);
  if (book_.Recovering() != nullptr &&
      book_.Recovering()->attempt != attempt_) {
    book_.Recover(attempt_, row.step, At(at));
    CollectIncidents();
  }
}

void Trial::Beat(MonoTime now) {
  if (is_stopped_) return;
  for (std::int32_t node = 0; node < job_.Nodes(); ++node) {
    if (job_.IsSilent(node, now)) continue;
    NodeState& state = states_[static_cast<std::size_t>(node)];
    const auto [first, last] = job_.RanksOf(node);
    for (std::int32_t rank = first; rank < last; ++rank) {
      state.runs[0].ranks[static_cast<std::size_t>(rank - first)] =
          job_.StateOf(rank, now);
    }
    hearing_.Heard(state.node, now);
    watch_.ObserveNode(state, At(now));
  }
}

void Trial::Evaluate(MonoTime now) {
  RunSituation situation;
  situation.is_live = !stopping_.has_value();
  situation.is_stopping = stopping_.has_value() && !is_stopped_;
  situation.step = watch_.Progress().MaxStep();
  situation.is_running = situation.is_live && situation.step != kNoStep;
  if (is_stopped_) return;
  Take(watch_.Evaluate(hearing_, situation, At(now)), now);
}

void Trial::Take(Verdicts verdicts, MonoTime now) {
  for (Finding& finding : verdicts.findings) {
    const bool is_of_training =
        IsTrainingKind(finding.kind) || finding.kind == IncidentKind::kNan;
    if (!IsTrainingKind(finding.kind)) book_.Observe(finding, At(now));
    if (is_of_training) result_.claims.push_back({finding, now});
    Follow(finding, now);
  }
  for (const Clearance& clearance : verdicts.cleared) {
    book_.Clear(clearance, At(now));
  }
}

// What the default policy acts on, and what it advises if that is followed.
void Trial::Follow(const Finding& finding, MonoTime now) {
  const bool asks_for_more = finding.advice == Advice::kReplaceNode ||
                             finding.advice == Advice::kRollback ||
                             finding.advice == Advice::kHalt;
  const bool is_advised = IsTrainingKind(finding.kind) && asks_for_more;
  const bool is_followed = is_advised && options_.follows_advice &&
                           result_.advice_followed < kMostFollowed;
  if (!EndsAttempt(finding.kind) && !is_followed) return;
  if (finding.kind == IncidentKind::kNodeLost ||
      finding.advice == Advice::kReplaceNode) {
    left_out_.insert(finding.culprit.node);
  }
  if (finding.rollback.below != kNoStep) {
    below_ = below_ == kNoStep ? finding.rollback.below
                               : std::min(below_, finding.rollback.below);
  }
  if (stopping_.has_value()) return;
  if (is_advised) ++result_.advice_followed;
  stopping_ = now;
  next_tick_ = now + kTick;
}

void Trial::MaybeRestart(MonoTime now) {
  if (!stopping_.has_value()) return;
  if (is_stopped_) {
    if (now < restart_at_) return;
    const Step resume = ResumeStep();
    std::erase_if(saved_, [&](Step step) { return step > resume; });
    BeginAttempt(resume, At(now));
    return;
  }
  if (now - *stopping_ < kStopTime) return;
  for (std::int32_t node = 0; node < job_.Nodes(); ++node) {
    const NodeId& name = states_[static_cast<std::size_t>(node)].node;
    if (job_.IsSilent(node, now) && !watch_.Silence().IsLost(name) &&
        now - *stopping_ < kLongestStop) {
      return;  // Its stop is not proved.
    }
  }
  for (const Finding& finding : watch_.FinalCrash()) {
    book_.Observe(finding, At(now));
  }
  for (NodeId& node : rank_nodes_) {
    if (!left_out_.contains(node)) continue;
    // All ranks of it move together.
    const NodeId gone = node;
    const NodeId spare = fmt::format("spare-{:05}", spares_++);
    std::ranges::replace(rank_nodes_, gone, spare);
  }
  is_stopped_ = true;
  job_.End();
  restart_at_ = now + FromSeconds(options_.job.profile.job.restart_seconds);
  next_tick_ = restart_at_;
}

Step Trial::ResumeStep() const {
  Step resume = kNoStep;
  for (const Step step : saved_) {
    if (below_ == kNoStep || step < below_) resume = std::max(resume, step);
  }
  return resume;
}

void Trial::CollectIncidents() {
  for (Incident& incident : book_.TakeChanged()) {
    if (incident.state == IncidentState::kOpen) continue;
    if (incident.kind == IncidentKind::kNan) continue;  // Is a claim.
    result_.incidents.push_back(std::move(incident));
  }
}

}  // namespace steadyrun::fleet
