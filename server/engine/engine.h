#pragma once

// The service's whole mind: pure composition of detect, incident, policy and
// recovery. No clock, thread, lock, random source, log or I/O. Equal snapshot
// and equal events at equal times give equal outcomes.

#include <memory>

#include "base/clock.h"
#include "server/engine/effect.h"
#include "server/engine/event.h"
#include "server/engine/view.h"
#include "server/model/snapshot.h"

namespace steadyrun {

// A deliberate defect, for the tests that test the simulation. Never set in a
// program. Each is caught by at least one invariant (tests/simulation).
enum class EngineMutation {
  kNone,
  kAckBeforeCommit,        // Acks reports whose rows are not in the changes.
  kStartBeforeAllStopped,  // Starts when the first node has confirmed.
  kNoFenceOnLostNode,      // Counts silence as proof, without a fence.
  kBudgetNotDurable,       // Leaves restarts out of the stored state.
  kCommandBeforeIntent,    // Sends Stop/Start without a change of RunState.
  kTrustsDistrusted,       // Resumes from distrusted checkpoints.
  kForgetsFloorOnReload,   // Re-uses an attempt number after a restart.
  kIgnoresMassSilence,     // Acts when most nodes are silent at once.
  kLeavesPause,            // Restarts a paused or halted run by itself.
  kIgnoresHold,            // Stops and starts a held run by itself.
  kAppliesDuplicates,      // Applies reports below the cursor again.
  kAcceptsStaleAttempt,    // Takes steps and shards of older attempts.
};

struct EngineOptions {
  Duration heartbeat_interval{std::chrono::milliseconds(500)};
  EngineMutation mutation = EngineMutation::kNone;
};

class Engine {
 public:
  Engine(const EngineOptions& options, Snapshot snapshot, Now now);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Requires: `now.mono` is not before the last call's.
  [[nodiscard]] Outcome Step(Event event, Now now);

  // Read-only pictures for people. Cheap; copied out.
  EngineView View(Now now) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace steadyrun
