#pragma once

// What can be set about each detector, with the TOML key of the policy file,
// unit, default and what it costs to change. Plain values; Policy holds them.

#include <cstdint>
#include <map>

#include "base/clock.h"
#include "proto/messages/messages.h"
#include "server/detect/curve/options.h"
#include "server/detect/integrity/options.h"
#include "server/detect/speed/options.h"
#include "server/model/parallel_layout.h"

namespace steadyrun {

// [detect.hang]: see hang_detector.h for the model.
struct HangOptions {
  // `timeout`, 10 s; `timeout_max`, 30 min: a step's deadline lies between.
  // Below 10 s, pauses of a busy machine and undeclared saves come into reach.
  Duration minimum{std::chrono::seconds(10)};
  Duration maximum{std::chrono::minutes(30)};
  // `factor`, 5: times the 99 % quantile of recent step times.
  double factor = 5;
  // `warm_up`, 60 s: at least this while the attempt makes its first steps,
  // or while too few step times are known. Compiling and filling caches make
  // them slow.
  Duration warm_up{std::chrono::seconds(60)};
  // `stopped`, 5 s: a rank's process is in state T (stopped) and no rank
  // advances: two witnesses, so less patience.
  Duration stopped{std::chrono::seconds(5)};
  // `busy_factor`, 3: the deadline of undeclared work is longer by this while
  // every rank uses its CPU: an evaluation nobody declared looks like this, a
  // rank that waits for a lost message does not. 1 turns it off.
  double busy_factor = 3;
  // `busy_max`, 90 s: but not beyond this, if the deadline is not longer
  // anyway. Undeclared evaluations of real runs took up to 51 s; ranks that
  // spin in a collective look as busy, and of long steps three deadlines are
  // minutes.
  Duration busy_maximum{std::chrono::seconds(90)};
  // [detect.hang.phase] <phase> = duration: fixed deadlines of declared
  // phases. A phase that is not listed, or is 0, is part of the step and shares
  // its deadline; in RL each learns its own (phase_deadlines.h). Defaults:
  // startup 10 min, checkpoint 5 min, evaluation 10 min, compile 30 min,
  // shutdown 5 min.
  std::map<Phase, Duration> phase = {
      {Phase::kStartup, std::chrono::minutes(10)},
      {Phase::kCheckpoint, std::chrono::minutes(5)},
      {Phase::kEvaluation, std::chrono::minutes(10)},
      {Phase::kCompile, std::chrono::minutes(30)},
      {Phase::kShutdown, std::chrono::minutes(5)}};
  friend bool operator==(const HangOptions&, const HangOptions&) = default;
};

// [detect.node]: see silence_detector.h for the model.
struct SilenceOptions {
  // `silent_after`, 3 s without a heartbeat (six of them). Shorter: faster,
  // and closer to the pauses of a busy machine.
  Duration silent_after{std::chrono::seconds(3)};
  // `witness_minimum`, 1 s, `witness_steps`, 2: the other nodes' ranks have
  // not advanced for max(minimum, steps x median step time).
  Duration witness_minimum{std::chrono::seconds(1)};
  double witness_steps = 2;
  // `alone`, 60 s: lost without a second witness (a run of one node).
  Duration alone{std::chrono::seconds(60)};
  // `starting`, 20 s: lost while no rank has made a step yet, when standing
  // still is no witness. Shorter than `alone`: little work is at stake.
  Duration starting{std::chrono::seconds(20)};
  // `mass_share`, 0.5: when more than this share of the run's nodes is silent
  // at once, the network or this service is suspected: no action, and a page
  // after `mass_page`, 60 s.
  double mass_share = 0.5;
  Duration mass_page{std::chrono::seconds(60)};
  // `settle`, 3 s: no verdict for this long after the service started, was
  // stalled (kLateTick of node_hearing.h), or could not store.
  Duration settle{std::chrono::seconds(3)};
  friend bool operator==(const SilenceOptions&,
                         const SilenceOptions&) = default;
};

// [detect.crash]
struct CrashOptions {
  // `early_exit_grace`, 10 s: after a rank ended with code 0 before its last
  // step, the others get this long to do the same; then it is a crash.
  Duration early_exit_grace{std::chrono::seconds(10)};
  friend bool operator==(const CrashOptions&, const CrashOptions&) = default;
};

// [detect.nan]
struct NanOptions {
  // `overflow_steps`, 10: with dynamic loss scaling (the trainer reports a
  // loss scale) a non-finite gradient norm with a finite loss is a skipped
  // step; so many in a row are let pass. 0: none.
  std::int32_t overflow_steps = 10;
  friend bool operator==(const NanOptions&, const NanOptions&) = default;
};

// [checkpoint]: see checkpoint_detector.h.
struct CheckpointOptions {
  // `interval`, 0 s, and `interval_steps`, 0: the service orders a checkpoint
  // when the first of the two has passed since the last complete one. 0: the
  // trainer saves by itself. Shorter: less work lost, more time spent saving
  // (Young: sqrt(2 x cost of a save x mean time between failures)).
  Duration interval{};
  std::int64_t interval_steps = 0;
  // `overdue_factor`, 3: an incident when none completed for so many
  // intervals.
  double overdue_factor = 3;
  friend bool operator==(const CheckpointOptions&,
                         const CheckpointOptions&) = default;
};

// All of them, as a policy holds them.
struct DetectOptions {
  CrashOptions crash;
  HangOptions hang;
  SilenceOptions silence;
  NanOptions nan;
  CheckpointOptions checkpoint;
  // Of the training; see options.h of their folders.
  CurveOptions curve;
  SpeedOptions speed;
  IntegrityOptions integrity;
  // [parallel]: which ranks are alike; see server/model/parallel_layout.h.
  ParallelLayout layout;
  friend bool operator==(const DetectOptions&, const DetectOptions&) = default;
};

}  // namespace steadyrun
