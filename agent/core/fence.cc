#include "agent/core/fence.h"

#include <algorithm>

namespace steadyrun::agent {
namespace {

constexpr std::int32_t kSigKill = 9;
constexpr std::int32_t kSigTerm = 15;

}  // namespace

EpochVerdict JudgeEpoch(const DurableState& state, std::uint64_t epoch,
                        std::string_view server_id) {
  if (epoch < state.max_server_epoch) return EpochVerdict::kStale;
  if (epoch > state.max_server_epoch) return EpochVerdict::kRaise;
  return server_id == state.server_id ? EpochVerdict::kObey
                                      : EpochVerdict::kForeign;
}

const DurableRun* FindRun(const DurableState& state, const RunId& run) {
  const auto it =
      std::ranges::lower_bound(state.runs, run, {}, &DurableRun::run);
  return it != state.runs.end() && it->run == run ? &*it : nullptr;
}

DurableRun& RunOf(DurableState& state, const RunId& run) {
  auto it = std::ranges::lower_bound(state.runs, run, {}, &DurableRun::run);
  if (it == state.runs.end() || it->run != run) {
    it = state.runs.insert(it, DurableRun{});
    it->run = run;
  }
  return *it;
}

std::size_t CountRemembered(const DurableState& state) {
  return static_cast<std::size_t>(
      std::ranges::count(state.runs, 0u, &DurableRun::forgotten_epoch));
}

void ForgetRun(DurableState& state, const RunId& run, std::uint64_t epoch) {
  RunOf(state, run).forgotten_epoch = std::max<std::uint64_t>(epoch, 1);
  while (state.runs.size() - CountRemembered(state) > kMaxForgottenRuns) {
    auto oldest = state.runs.end();
    for (auto it = state.runs.begin(); it != state.runs.end(); ++it) {
      if (it->forgotten_epoch == 0 || it->run == run) continue;
      if (oldest == state.runs.end() ||
          it->forgotten_epoch < oldest->forgotten_epoch) {
        oldest = it;
      }
    }
    if (oldest == state.runs.end()) return;
    state.runs.erase(oldest);
  }
}

StartVerdict JudgeStart(const DurableState& state, const RunId& run,
                        AttemptId attempt) {
  const DurableRun* known = FindRun(state, run);
  if (known == nullptr) return StartVerdict::kAboveFloor;
  if (attempt < known->floor) return StartVerdict::kBelowFloor;
  if (attempt > known->floor) return StartVerdict::kAboveFloor;
  return attempt > known->started ? StartVerdict::kStart
                                  : StartVerdict::kStartedAlready;
}

bool IsOrderedExit(const ExitStatus& exit, Duration grace) {
  if (exit.signal == kSigKill) return true;
  // Trainers answer SIGTERM in many ways; any plain exit after it is ordered.
  return grace > Duration::zero() &&
         (exit.signal == kSigTerm || exit.signal == 0);
}

}  // namespace steadyrun::agent
