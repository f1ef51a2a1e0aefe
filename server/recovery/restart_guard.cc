#include "server/recovery/restart_guard.h"

#include <algorithm>
#include <vector>

namespace steadyrun {
namespace {

// The attempt that failed had been started by the guard's own leave.
bool WasRestarted(const RunState& state) {
  return !state.restarts.empty() &&
         state.restarts.back().attempt < state.attempt &&
         state.restarts.back().attempt >= state.guard_from;
}

// The records with those an operator has answered made unlike any failure, so
// that they weigh in the budgets alone.
std::vector<RestartRecord> Weighed(const RunState& state) {
  std::vector<RestartRecord> records = state.restarts;
  for (RestartRecord& record : records) {
    if (record.attempt < state.guard_from) {
      record.signature = "answered by an operator";
    }
  }
  return records;
}

}  // namespace

GuardVerdict JudgeRestart(const RunState& state, const Failure& failure,
                          const Policy& policy, MonoTime now) {
  GuardVerdict verdict;
  verdict.made_progress = state.max_step > state.max_step_at_start;
  if (!verdict.made_progress && WasRestarted(state)) {
    verdict.without_progress = state.restarts_without_progress + 1;
  }
  verdict.allowance = AllowRestart(policy, Weighed(state),
                                   verdict.without_progress, failure, now);
  return verdict;
}

void RecordRestart(RunState* state, const Failure& failure,
                   const GuardVerdict& verdict, Now now) {
  RestartRecord record;
  record.at = now.wall;
  record.at_mono = now.mono;
  record.attempt = state->attempt;
  record.kind = failure.kind;
  record.signature = failure.signature;
  record.step = failure.step;
  record.made_progress = verdict.made_progress;
  state->restarts.push_back(std::move(record));
  if (state->restarts.size() > kMaxRestarts) {
    state->restarts.erase(state->restarts.begin());
  }
  state->restarts_without_progress = verdict.without_progress;
}

void ForgiveFailures(RunState* state) {
  state->guard_from = state->attempt.Next();
  state->restarts_without_progress = 0;
}

bool HasHappenedBefore(const RunState& state, const Failure& failure,
                       const Policy& policy) {
  return std::any_of(state.restarts.begin(), state.restarts.end(),
                     [&](const RestartRecord& record) {
                       return record.attempt >= state.guard_from &&
                              record.kind == failure.kind &&
                              record.step.value +
                                      policy.restart.same_failure_steps >=
                                  failure.step.value;
                     });
}

}  // namespace steadyrun
