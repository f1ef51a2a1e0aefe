#include "server/policy/training_keys.h"

namespace steadyrun {
namespace {

// Points of a trend; more than this is longer than runs last.
constexpr double kMostPoints = 1e9;

void AddCurve(CurveOptions* curve, std::vector<TrainingKey>* keys) {
  LossSpikeOptions& spike = curve->loss_spike;
  keys->insert(
      keys->end(),
      {{"detect.loss_spike", "enabled", &spike.enabled, 0, 0, "",
        "The loss jumps. Points are logged steps."},
       {"detect.loss_spike", "warm_up", &spike.warm_up, 16, kMostPoints,
        "points before the first verdict", ""},
       {"detect.loss_spike", "threshold", &spike.threshold, 2, 100,
        "scales above the trend, three of five points", ""},
       {"detect.loss_spike", "malignant_after", &spike.malignant_after, 10,
        kMostPoints, "points a benign spike has to come back in", ""}});
  GradExplosionOptions& grad = curve->grad_explosion;
  keys->insert(
      keys->end(),
      {{"detect.grad_explosion", "enabled", &grad.enabled, 0, 0, "",
        "The gradient norm leaves its range; alone it never rolls back."},
       {"detect.grad_explosion", "warm_up", &grad.warm_up, 16, kMostPoints,
        "points before the first verdict", ""},
       {"detect.grad_explosion", "threshold", &grad.threshold, 2, 100,
        "scales of its logarithm above the trend", ""},
       {"detect.grad_explosion", "ratio", &grad.ratio, 1, 1e6,
        "and so many times the trend", ""}});
  keys->insert(keys->end(),
               {{"detect.divergence", "enabled", &curve->divergence.enabled, 0,
                 0, "", "The loss drifts upwards."},
                {"detect.divergence", "threshold", &curve->divergence.threshold,
                 1, 1000, "what Page-Hinkley has to sum up", ""},
                {"detect.plateau", "enabled", &curve->plateau.enabled, 0, 0, "",
                 "The loss has stopped falling."},
                {"detect.plateau", "points", &curve->plateau.points, 100,
                 kMostPoints, "without any fall", ""},
                {"detect.loss_scale", "enabled", &curve->loss_scale.enabled, 0,
                 0, "", "fp16 loss scaling collapses."},
                {"detect.loss_scale", "drop", &curve->loss_scale.drop, 2, 1e9,
                 "times smaller", ""},
                {"detect.loss_scale", "points", &curve->loss_scale.points, 2,
                 kMostPoints, "within so many points", ""}});
}

void AddReinforcement(RlOptions* rl, std::vector<TrainingKey>* keys) {
  keys->insert(
      keys->end(),
      {{"detect.rl", "kl_blowup", &rl->kl_blowup, 0, 0, "",
        "Reinforcement learning; each where its metrics are reported."},
       {"detect.rl", "entropy_collapse", &rl->entropy_collapse, 0, 0, "", ""},
       {"detect.rl", "reward_collapse", &rl->reward_collapse, 0, 0, "", ""},
       {"detect.rl", "reward_hacking", &rl->reward_hacking, 0, 0, "", ""},
       {"detect.rl", "length_explosion", &rl->length_explosion, 0, 0, "", ""},
       {"detect.rl", "rollout_mismatch", &rl->rollout_mismatch, 0, 0, "", ""}});
}

void AddRollback(RollbackOptions* rollback, std::vector<TrainingKey>* keys) {
  keys->insert(keys->end(),
               {{"detect.rollback", "below", &rollback->below, 1, kMostPoints,
                 "points before the onset to resume from",
                 "What a malignant spike or a divergence asks for."},
                {"detect.rollback", "lead", &rollback->lead, 0, kMostPoints,
                 "data is left out from so many points before the onset", ""},
                {"detect.rollback", "skip", &rollback->skip, 0, kMostPoints,
                 "to so many after it, at least", ""},
                {"detect.rollback", "skip_max", &rollback->skip_max, 0,
                 kMostPoints, "and at most", ""},
                {"detect.rollback", "recur_within", &rollback->recur_within, 1,
                 kMostPoints, "two so close are one story", ""},
                {"detect.rollback", "factor", &rollback->factor, 0.01, 1,
                 "of the learning rate, the second time", ""},
                {"detect.rollback", "next_factor", &rollback->next_factor, 0.01,
                 1, "and later", ""}});
}

void AddSpeed(SpeedOptions* speed, std::vector<TrainingKey>* keys) {
  StragglerOptions& straggler = speed->straggler;
  keys->insert(
      keys->end(),
      {{"detect.straggler", "report_excess", &straggler.report_excess, 0.005,
        10, "of the peers' time, told",
        "A rank computes slower than its peers; shares of their time."},
       {"detect.straggler", "report_sum", &straggler.report_sum, 0.05, 100,
        "when the excess above it adds up to this", ""},
       {"detect.straggler", "act_excess", &straggler.act_excess, 0.005, 10,
        "median of 20 steps, three times: asks for another node", ""},
       {"detect.slowdown", "minimum", &speed->slowdown.minimum, 0.01, 10,
        "a smaller lasting change is jitter", "The whole run became slower."},
       {"detect.slowdown", "lasting", &speed->slowdown.lasting_seconds, 0,
        86400, "seconds; what is over sooner is not told", ""},
       {"detect.data", "share", &speed->data.share, 0.005, 1,
        "of the step, above what is usual", "Ranks wait for their input."},
       {"detect.data", "always_share", &speed->data.always_share, 0.01, 1,
        "told also when it was so from the start", ""},
       {"detect.save", "factor", &speed->save.factor, 1.1, 1000,
        "times the median of the last saves, twice in a row",
        "Saving takes longer than it did."},
       {"detect.save", "minimum", &speed->save.minimum_seconds, 0, 86400,
        "seconds; slower by less is of no interest", ""},
       {"detect.generation", "factor", &speed->generation.factor, 1.1, 1000,
        "times the median", "A rollout takes far longer than others."}});
}

void AddIntegrity(IntegrityOptions* integrity, ParallelLayout* layout,
                  std::vector<TrainingKey>* keys) {
  keys->insert(
      keys->end(),
      {{"detect.integrity", "local_norm_sigmas", &integrity->local_norm_sigmas,
        3, 1000, "from the peers' gradient norms",
        "Silent data corruption: votes, and norms before the all-reduce."},
       {"detect.integrity", "local_norm_hits", &integrity->local_norm_hits, 1,
        10, "in so many of 10 rows", ""},
       {"parallel", "tensor", &layout->tensor, 1, 1e6, "tensor-parallel size",
        "How the ranks share the model (Megatron's order: tp-ep-dp-pp)."},
       {"parallel", "pipeline", &layout->pipeline, 1, 1e6, "pipeline stages",
        ""},
       {"parallel", "expert", &layout->expert, 1, 1e6, "expert-parallel size",
        ""}});
}

}  // namespace

std::vector<TrainingKey> TrainingKeys(DetectOptions* options) {
  std::vector<TrainingKey> keys;
  AddCurve(&options->curve, &keys);
  AddReinforcement(&options->curve.rl, &keys);
  AddRollback(&options->curve.rollback, &keys);
  AddSpeed(&options->speed, &keys);
  AddIntegrity(&options->integrity, &options->layout, &keys);
  return keys;
}

}  // namespace steadyrun
