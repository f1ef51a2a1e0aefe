#pragma once

// The rules that keep two attempts of a run from ever running at once, as
// pure functions of what is on disk. Each says why it refuses.

#include <cstddef>
#include <string>
#include <string_view>

#include "agent/core/effect.h"
#include "base/ids.h"

namespace steadyrun::agent {

// Runs shown in a heartbeat; as many as the server accepts.
inline constexpr std::size_t kMaxRuns = 64;
// Ended runs whose fence is still remembered, so that a late Start of one
// stays refused. All of them fit the 64 KiB slot of the state file.
inline constexpr std::size_t kMaxForgottenRuns = 256;

// What a server's word is worth, given the highest epoch ever obeyed.
enum class EpochVerdict {
  kObey,
  kRaise,    // Newer: persist it, then obey.
  kStale,    // A newer server has been obeyed already.
  kForeign,  // Equal epoch of another instance: a copied database.
};
EpochVerdict JudgeEpoch(const DurableState& state, std::uint64_t epoch,
                        std::string_view server_id);

// Null if the run is unknown here. Runs are sorted by name.
const DurableRun* FindRun(const DurableState& state, const RunId& run);
// Adds the run if it is unknown.
DurableRun& RunOf(DurableState& state, const RunId& run);
std::size_t CountRemembered(const DurableState& state);  // Not forgotten ones.

// Marks `run` as ended at `epoch`; the oldest ended ones over the limit go.
void ForgetRun(DurableState& state, const RunId& run, std::uint64_t epoch);

// Whether Start(attempt) may be executed, by what is on disk.
enum class StartVerdict {
  kStart,
  kBelowFloor,      // A newer attempt is fenced in: this one never starts.
  kAboveFloor,      // Its Stop has not been obeyed here yet.
  kStartedAlready,  // At most once, for ever.
};
StartVerdict JudgeStart(const DurableState& state, const RunId& run,
                        AttemptId attempt);

// Whether `exit` is the effect of a kill ordered with this grace. A rank that
// crashed by itself just before the order is still evidence.
bool IsOrderedExit(const ExitStatus& exit, Duration grace);

}  // namespace steadyrun::agent
