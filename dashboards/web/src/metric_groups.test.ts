import assert from "node:assert/strict";
import test from "node:test";
import { groupMetrics, groupOf } from "./metric_groups";

const MEANT: [string, string[]][] = [
  ["Reward", ["critic/rewards/mean", "critic/score/mean", "critic/returns/mean", "critic/advantages/mean",
    "grpo/rewards/mean", "reward", "reward_std", "rewards/accuracy_reward/mean", "objective/scores",
    "objective/rlhf_reward", "frac_reward_zero_std", "return", "train/reward", "batch/solve_all"]],
  ["Policy and KL", ["critic/kl", "actor/kl_loss", "actor/kl_coef", "actor/reward_kl_penalty", "actor/ppo_kl",
    "actor/entropy", "actor/pg_clipfrac", "actor/pg_loss", "policy/approxkl_avg", "policy/clipfrac_avg",
    "objective/kl", "kl", "ppo_kl", "clip_ratio/region_mean", "entropy", "policy_loss"]],
  ["Lengths", ["response_length/mean", "response_length/clip_ratio", "prompt_length/max", "global_seqlen/mean",
    "completions/mean_length", "completions/clipped_ratio", "response/aborted_ratio"]],
  ["Rollout", ["rollout_corr/kl", "training/rollout_probs_diff_mean", "vllm_kl", "rollout_corr/eff_sample_size",
    "sampling/importance_sampling_ratio/mean"]],
  ["Value function", ["critic/vf_loss", "critic/values/mean", "critic/vf_explained_var", "critic_loss", "val/clipfrac_avg"]],
  ["Evaluation", ["val-core/gsm8k/acc/mean@1", "val/test_score/gsm8k", "eval_reward", "val-aux/x/reward/best@4"]],
  ["Optimizer", ["actor/grad_norm", "actor/lr", "learning_rate", "loss_scale", "critic/lr"]],
  ["Time", ["timing_s/gen", "timing_per_token_ms/ref", "compute_seconds", "data_seconds", "perf/time_per_step"]],
  ["Throughput", ["perf/throughput", "perf/mfu/actor", "tokens", "perf/max_memory_allocated_gb", "tps"]],
  ["Losses", ["aux_loss", "loss/lm"]],
  ["Other", ["epoch", "temperature"]],
  ["router", ["router/balance"]],
];

test("metrics are grouped by what their names mean", () => {
  for (const [group, names] of MEANT) {
    for (const name of names) assert.equal(groupOf(name), group, name);
  }
});

test("reinforcement learning comes first and open, every name once", () => {
  const names = MEANT.flatMap(([, members]) => members);
  const groups = groupMetrics(names);
  assert.deepEqual(groups.slice(0, 4).map((g) => [g.title, g.isOpen]),
    [["Reward", true], ["Policy and KL", true], ["Lengths", true], ["Rollout", true]]);
  assert.ok(groups.slice(4).every((g) => !g.isOpen));
  assert.deepEqual(groups.flatMap((g) => g.names).sort(), [...names].sort());
  assert.deepEqual(groupMetrics([]), []);
});
