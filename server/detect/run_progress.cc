#include "server/detect/run_progress.h"

#include <algorithm>

namespace steadyrun {
namespace {

// A shorter span holds too few clock ticks of CPU time (10 ms each) and too
// few heartbeats to say whether a process computes.
constexpr Duration kMinCpuSpan = std::chrono::seconds(2);

bool IsStopped(char process_state) {
  return process_state == 'T' || process_state == 't';
}

// What the heartbeat tells, if it was taken after the rank's last advance. The
// same word comes with every heartbeat of a hang: it is copied once.
std::shared_ptr<const Standstill> NewestStandstill(
    const RankState& state, const std::shared_ptr<const Standstill>& known) {
  if (state.collectives.empty() && state.stack.empty()) return nullptr;
  if (state.life == RankLife::kExited) return nullptr;
  if (state.stack_age > state.progress_age) return nullptr;
  if (known != nullptr && known->collectives == state.collectives &&
      known->stack == state.stack) {
    return known;
  }
  return std::make_shared<const Standstill>(
      Standstill{state.collectives, state.stack});
}

}  // namespace

double RankProgress::CpuShare() const {
  const Duration span = heard - cpu_base;
  if (!is_known || span < kMinCpuSpan) return -1;
  return std::max(0.0, cpu_seconds - cpu_base_seconds) / ToSeconds(span);
}

void RunProgress::Begin(const WatchedAttempt& attempt, MonoTime now) {
  attempt_ = attempt;
  ranks_.assign(attempt.WorldSize(), RankProgress{});
  for (RankProgress& rank : ranks_) {
    rank.heard = now;
    rank.advanced = now;
    rank.cpu_base = now;
  }
}

bool RunProgress::Observe(const RankState& state, MonoTime now) {
  if (state.attempt != attempt_.attempt || !attempt_.Has(state.rank)) {
    return false;
  }
  RankProgress& rank = ranks_[static_cast<std::size_t>(state.rank.value)];
  const bool is_first = !rank.is_known;
  const bool has_moved =
      is_first || state.step != rank.step ||
      state.phase_seq != rank.phase_seq || state.phase != rank.phase ||
      (state.life == RankLife::kAlive && rank.life == RankLife::kStarting);
  if (has_moved) {
    // The age says when, but never before what was known: a trainer without
    // a recorder (log following) may send no age at all.
    const Duration age = std::clamp(state.progress_age, Duration::zero(),
                                    std::max(now - rank.heard, Duration(0)));
    // The first word after the service's restart is the exception: the rank
    // may have stood still for long before we began to listen.
    const MonoTime moved =
        is_first ? now - std::max(state.progress_age, Duration::zero())
                 : now - age;
    rank.advanced = is_first ? moved : std::max(rank.advanced, moved);
    rank.cpu_base = now;
    rank.cpu_base_seconds = state.cpu_seconds;
  }
  if (!IsStopped(state.process_state)) {
    rank.stopped_since.reset();
  } else if (!rank.stopped_since.has_value()) {
    rank.stopped_since = now;
  }
  rank.standstill = NewestStandstill(state, rank.standstill);
  rank.is_known = true;
  rank.life = state.life;
  rank.step = state.step;
  rank.phase = state.phase;
  rank.phase_seq = state.phase_seq;
  rank.process_state = state.process_state;
  rank.cpu_seconds = state.cpu_seconds;
  rank.heard = now;
  return has_moved;
}

void RunProgress::ObserveExit(Rank rank) {
  if (!attempt_.Has(rank)) return;
  RankProgress& gone = ranks_[static_cast<std::size_t>(rank.value)];
  gone.life = RankLife::kExited;
  gone.standstill.reset();
}

MonoTime RunProgress::LastAdvance() const {
  MonoTime last = MonoTime::min();
  for (const RankProgress& rank : ranks_) last = std::max(last, rank.advanced);
  return last;
}

std::optional<MonoTime> RunProgress::LastAdvanceOutside(
    const std::set<NodeId>& nodes) const {
  std::optional<MonoTime> last;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (nodes.contains(attempt_.rank_nodes[r])) continue;
    last = std::max(last.value_or(MonoTime::min()), ranks_[r].advanced);
  }
  return last;
}

namespace {

bool Counts(const RankProgress& rank) {
  return rank.is_known && rank.life != RankLife::kExited;
}

}  // namespace

Step RunProgress::MinStep() const {
  std::optional<Step> lowest;
  for (const RankProgress& rank : ranks_) {
    if (!Counts(rank)) continue;
    lowest = std::min(lowest.value_or(rank.step), rank.step);
  }
  return lowest.value_or(kNoStep);
}

Step RunProgress::MaxStep() const {
  Step highest = kNoStep;
  for (const RankProgress& rank : ranks_) {
    if (Counts(rank)) highest = std::max(highest, rank.step);
  }
  return highest;
}

}  // namespace steadyrun
