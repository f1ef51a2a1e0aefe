#pragma once

// How long the phases of a reinforcement-learning step usually take, and from
// which time on one stands still.
//
// Intuition: such a step is minutes of rollout, seconds of weight_sync. One
// deadline for all of it, learned from whole steps, lets a weight_sync that
// hangs wait for as long as the longest rollout might take.
//
// Model. Groups: rollout, reward, reference, weight_sync, and train, which is
// step, data, forward, backward and optimizer together, of a run that has shown
// one of the other four. A turn is one rank's stay in one phase, told by its
// heartbeats: their phase_age says when it began, the next phase's age when it
// ended. Of each step and group the longest turn is kept, for the last 500
// steps:
//   deadline = clamp(floor, max(factor x q99, 2 x longest), maximum)
//   before five steps are known: at least the group's warm-up
//
// Floors. 60 s for rollout, reward, reference and weight_sync: they ask
// inference engines, sandboxes and reward services, whose retries take up to a
// minute, and a step is minutes. 5 min for train, as for a declared save: what
// nobody declared, a save or an evaluation, hides there.
//
// Warm-up. 30 min for rollout: after a restart of this service nothing is
// known, and a rollout may have been under way for long. 10 min for the others,
// what torch's own collectives wait for. Five steps, not the twenty of plain
// steps: twenty would be hours; 5 x the longest is then the rule of NVRx.
//
// Growth. Responses become longer as a run learns, and a batch waits for its
// longest: factor x q99 follows within 500 steps, 2 x longest at once. Twice
// the longest is granted beyond `maximum`, too, for the rollout that takes 20
// minutes on a good day.
//
// What heartbeats cannot tell: a phase shorter than their pace (0.5 s) may be
// missed, and of one with a missed phase after it the last age seen is taken.
// Both are far below the floors. Turns before a rank's first completed step are
// the start's, and teach nothing.
//
// Two things win over all this: a value of [detect.hang.phase], and the
// deadline of whole steps where it is shorter (RL steps of seconds). 32 B a
// rank. One thread.

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/step_time_sketch.h"

namespace steadyrun {

class PhaseDeadlines {
 public:
  static constexpr Duration kFloor = std::chrono::seconds(60);
  static constexpr Duration kTrainFloor = std::chrono::minutes(5);
  static constexpr Duration kRolloutWarmUp = std::chrono::minutes(30);
  static constexpr Duration kWarmUp = std::chrono::minutes(10);
  static constexpr std::size_t kEnoughSteps = 5;

  // A new attempt. What earlier ones have taught is kept.
  void Begin(std::size_t world_size);
  // A heartbeat's word on one living rank of the attempt.
  void Observe(const RankState& rank, MonoTime now);

  // Nothing: the phase has no deadline of its own, it is part of the step.
  std::optional<Duration> Of(Phase phase, double factor,
                             Duration maximum) const;

 private:
  enum class Group { kRollout, kReward, kReference, kWeightSync, kTrain };
  static constexpr std::size_t kGroups = 5;
  static std::optional<Group> GroupOf(Phase phase);

  struct Turn {
    MonoTime began;
    MonoTime seen;
    std::uint64_t phase_seq = 0;
    Phase phase = Phase::kUnspecified;  // Unspecified: no turn yet.
    bool teaches = false;
  };
  // The longest turn of each step; the newest step is not over yet.
  struct Learned {
    StepTimeSketch longest_turns;
    Step step = kNoStep;
    double longest_seconds = 0;
  };

  void Learn(Group group, Step step, double seconds);
  void CloseStep(Learned* learned);

  std::vector<Turn> turns_;  // By rank.
  std::array<Learned, kGroups> learned_;
  bool is_rl_ = false;
};

}  // namespace steadyrun
