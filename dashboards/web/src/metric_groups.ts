// Metrics of a run by what their names mean, under the names of verl, TRL,
// OpenRLHF and MindSpeed-RL. Pure.

export interface MetricGroup { title: string; isOpen: boolean; names: string[]; }

// The first rule that fits counts, so that a KL penalty within the reward is
// KL, and a learning rate of the actor no policy signal.
const RULES: [string, RegExp][] = [
  ["Evaluation", /^(val-core|val-aux|eval|test)([\/_]|$)|^val\/test_score/],
  ["Rollout", /rollout|vllm_kl|importance_sampling|^sampling\/|probs_diff|eff_sample/],
  ["Time", /(^|[\/_])(timing|time|latency)([\/_]|$)|timing_|_(seconds|ms|s)$/],
  ["Lengths", /length|seqlen|(^|[\/_])len([\/_]|$)|aborted|completions\/clipped/],
  ["Policy and KL", /(^|[\/_])(kl|k3_kl|approxkl)([\/_]|$)|approxkl/],
  ["Reward", /reward|score|returns?([\/_]|$)|advantage|accurac|(^|[\/_])acc([\/_]|$)|solve_/],
  ["Optimizer", /grad|(^|[\/_])lr([\/_]|$)|learning_rate|loss_scale/],
  ["Throughput", /throughput|mfu|tokens?([\/_]|$)|(^|[\/_])tps([\/_]|$)|memory|^perf\/|gpu/],
  ["Value function", /critic|value|(^|[\/_])vf_|^val\//],
  ["Policy and KL", /entropy|clip|(^|[\/_])pg_|policy|actor|ratio|ppo/],
  ["Losses", /loss/],
];
// As they are shown; groups without a rule come after.
const ORDER = ["Reward", "Policy and KL", "Lengths", "Rollout", "Value function", "Evaluation",
  "Losses", "Optimizer", "Throughput", "Time"];
// What tells of a reinforcement learning run at a glance.
const OPEN = new Set(["Reward", "Policy and KL", "Lengths", "Rollout"]);

export function groupOf(name: string): string {
  const text = name.toLowerCase().replace(/^train\//, "");
  const rule = RULES.find(([, pattern]) => pattern.test(text));
  if (rule) return rule[0];
  return text.includes("/") ? text.split("/")[0] : "Other";
}

export function groupMetrics(names: string[]): MetricGroup[] {
  const groups = new Map<string, string[]>();
  for (const name of [...names].sort()) {
    const title = groupOf(name);
    groups.set(title, [...(groups.get(title) ?? []), name]);
  }
  const place = (title: string) => (ORDER.includes(title) ? ORDER.indexOf(title) : ORDER.length);
  return [...groups].map(([title, members]) => ({ title, isOpen: OPEN.has(title), names: members }))
    .sort((a, b) => place(a.title) - place(b.title) || (a.title < b.title ? -1 : 1));
}
