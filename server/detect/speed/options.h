#pragma once

// What can be set about the detectors of speed, with the TOML key of the
// policy file, unit, default and what it costs to change.

#include <cstdint>

namespace steadyrun {

// [detect.straggler]: see straggler_detector.h for the model. Excesses are
// shares of the peers' time: 0.05 is 5 % slower.
struct StragglerOptions {
  // `report_excess`, 0.025: slower than its peers by more than this is told.
  // Lower finds more, and then ranks that merely differ: healthy ranks spread
  // by about 0.5 % (sigma), so 2 % is the slowest of 10,000 of them.
  double report_excess = 0.025;
  // `report_sum`, 0.5: told when the excess above report_excess, at most 0.10
  // a step, adds up to this: 7 steps of 10 %, 20 steps of 5 %.
  double report_sum = 0.5;
  // `act_excess`, 0.05: asks for another node when the median of 20 steps is
  // above it three windows in a row. Replacing a node costs minutes.
  double act_excess = 0.05;
  friend bool operator==(const StragglerOptions&,
                         const StragglerOptions&) = default;
};

// [detect.slowdown]: see slowdown_detector.h.
struct SlowdownOptions {
  // `minimum`, 0.10: a lasting change of the step time, or of tokens per
  // second, by less than this share is taken for jitter.
  double minimum = 0.10;
  // `lasting`, 30 s of training: a change that is over sooner is not told. Of
  // steps of seconds it has lasted that long when it is seen; of steps of
  // milliseconds ten are no time in which a person could do anything.
  double lasting_seconds = 30;
  friend bool operator==(const SlowdownOptions&,
                         const SlowdownOptions&) = default;
};

// [detect.data]: see data_stall_detector.h.
struct DataStallOptions {
  // `share`, 0.05: waiting for input above what is usual for the run, or for
  // the other ranks, by more than this share of the step is counted.
  double share = 0.05;
  // `always_share`, 0.30: told also when it was so from the first steps on.
  double always_share = 0.30;
  friend bool operator==(const DataStallOptions&,
                         const DataStallOptions&) = default;
};

// [detect.save]: see save_speed_detector.h.
struct SaveSpeedOptions {
  // `factor`, 2: two saves in a row take more than this times the median of
  // the last 16.
  double factor = 2;
  // `minimum`, 1 s: a save that is slower by less is of no interest.
  double minimum_seconds = 1;
  friend bool operator==(const SaveSpeedOptions&,
                         const SaveSpeedOptions&) = default;
};

// [detect.generation]: see generation_detector.h.
struct GenerationOptions {
  // `factor`, 3: times the median of the run's last rollouts, or of the other
  // ranks.
  double factor = 3;
  friend bool operator==(const GenerationOptions&,
                         const GenerationOptions&) = default;
};

// All of them, as a policy holds them.
struct SpeedOptions {
  StragglerOptions straggler;
  SlowdownOptions slowdown;
  DataStallOptions data;
  SaveSpeedOptions save;
  GenerationOptions generation;
  friend bool operator==(const SpeedOptions&, const SpeedOptions&) = default;
};

}  // namespace steadyrun
