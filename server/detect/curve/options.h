#pragma once

// What can be set about the detectors of the training curve, with the TOML key
// of the policy file, unit, default and what it costs to change. Plain values.
// "Point" is one observed step: where the trainer counts samples or logs each
// tenth step, the step number grows by more than one a point, and a number of
// points is turned into step numbers with the usual growth ("stride").

#include <cstdint>

namespace steadyrun {

// [detect.loss_spike]: see loss_spike.h for the model.
struct LossSpikeOptions {
  // `enabled`, true.
  bool enabled = true;
  // `warm_up`, 128 points of an attempt before the first verdict. Fewer: the
  // steep first steps give false alarms.
  std::int64_t warm_up = 128;
  // `threshold`, 5: three of five points so many scales above the trend are a
  // spike. Lower: smaller spikes, and alarms about noise.
  double threshold = 5;
  // `malignant_after`, 100 points: by then a benign spike is half-way back,
  // and after twice as many all the way. Shorter: less lost to a malignant
  // one, and rollbacks that were not needed.
  std::int64_t malignant_after = 100;
  friend bool operator==(const LossSpikeOptions&,
                         const LossSpikeOptions&) = default;
};

// [detect.grad_explosion]: see grad_explosion.h.
struct GradExplosionOptions {
  bool enabled = true;         // `enabled`, true.
  std::int64_t warm_up = 128;  // `warm_up`, 128 points.
  // `threshold`, 6 scales of the logarithm, and `ratio`, 2 times the trend:
  // both, in three of five points.
  double threshold = 6;
  double ratio = 2;
  friend bool operator==(const GradExplosionOptions&,
                         const GradExplosionOptions&) = default;
};

// [detect.divergence]: see divergence.h.
struct DivergenceOptions {
  bool enabled = true;  // `enabled`, true.
  // `threshold`, 12: what Page-Hinkley has to sum up, in scales of a block.
  // Lower: sooner, and alarms about a loss that only wanders.
  double threshold = 12;
  friend bool operator==(const DivergenceOptions&,
                         const DivergenceOptions&) = default;
};

// [detect.plateau]: see plateau.h.
struct PlateauOptions {
  bool enabled = true;  // `enabled`, true.
  // `points`, 4000 without any fall of the loss. Shorter: sooner, and reports
  // about runs that fall slowly.
  std::int64_t points = 4000;
  friend bool operator==(const PlateauOptions&,
                         const PlateauOptions&) = default;
};

// [detect.loss_scale]: see loss_scale.h.
struct LossScaleOptions {
  bool enabled = true;  // `enabled`, true.
  // `drop`, 16 times within `points`, 100: healthy scaling halves once in a
  // while and doubles again.
  double drop = 16;
  std::int64_t points = 100;
  friend bool operator==(const LossScaleOptions&,
                         const LossScaleOptions&) = default;
};

// [detect.rl]: reinforcement learning; each is judged only where its metrics
// are reported (metric_aliases.h).
struct RlOptions {
  bool kl_blowup = true;         // `kl_blowup`, true.
  bool entropy_collapse = true;  // `entropy_collapse`, true.
  bool reward_collapse = true;   // `reward_collapse`, true.
  bool reward_hacking = true;    // `reward_hacking`, true.
  bool length_explosion = true;  // `length_explosion`, true.
  bool rollout_mismatch = true;  // `rollout_mismatch`, true.
  friend bool operator==(const RlOptions&, const RlOptions&) = default;
};

// [detect.rollback]: what a malignant spike or a divergence asks for; see
// rollback_plan.h.
struct RollbackOptions {
  // `below`, 100 points: resume from a checkpoint at least so long before the
  // onset. More: safer, and more work repeated.
  std::int64_t below = 100;
  // `lead`, 10, `skip`, 200, `skip_max`, 500 points: data is left out from
  // `lead` before the onset to where the spike was judged, at least `skip` and
  // at most `skip_max` after the onset.
  std::int64_t lead = 10;
  std::int64_t skip = 200;
  std::int64_t skip_max = 500;
  // `recur_within`, 2000 points: a second malignant event so close to the one
  // before lowers the learning rate instead of skipping, a third halts.
  std::int64_t recur_within = 2000;
  // `factor`, 0.9, the first time a run needs it, `next_factor`, 2/3, later.
  double factor = 0.9;
  double next_factor = 2.0 / 3;
  friend bool operator==(const RollbackOptions&,
                         const RollbackOptions&) = default;
};

// All of them, as a policy holds them.
struct CurveOptions {
  LossSpikeOptions loss_spike;
  GradExplosionOptions grad_explosion;
  DivergenceOptions divergence;
  PlateauOptions plateau;
  LossScaleOptions loss_scale;
  RlOptions rl;
  RollbackOptions rollback;
  friend bool operator==(const CurveOptions&, const CurveOptions&) = default;
};

}  // namespace steadyrun
