#include "server/detect/curve/metric_aliases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace steadyrun {
namespace {

struct Alias {
  std::string_view name;
  Signal signal;
};

// Best first within a signal: `critic/kl` is measured, a loss is weighted; a
// score is the task's, a reward may hold penalties.
constexpr Alias kAliases[] = {
    // verl and MindSpeed-RL.
    {"critic/kl", Signal::kReferenceKl},
    {"actor/kl_loss", Signal::kReferenceKl},
    {"actor/reward_kl_penalty", Signal::kReferenceKl},
    {"actor/ppo_kl", Signal::kUpdateKl},
    {"actor/pg_clipfrac", Signal::kClipFraction},
    {"actor/entropy", Signal::kEntropy},
    {"actor/entropy_loss", Signal::kEntropy},
    {"critic/score/mean", Signal::kScore},
    {"grpo/score/mean", Signal::kScore},
    {"critic/rewards/mean", Signal::kReward},
    {"grpo/rewards/mean", Signal::kReward},
    {"response_length/mean", Signal::kResponseLength},
    {"response_length/clip_ratio", Signal::kLengthClip},
    {"response/aborted_ratio", Signal::kLengthClip},
    {"rollout_corr/kl", Signal::kMismatchKl},
    {"rollout_corr/k3_kl", Signal::kMismatchKl},
    {"training/rollout_probs_diff_mean", Signal::kMismatchDiff},
    {"rollout_corr/chi2_token", Signal::kMismatchChi2},
    {"rollout_corr/rollout_is_mean", Signal::kIsMean},
    {"rollout_corr/rollout_is_std", Signal::kIsStd},
    {"rollout_corr/rollout_is_eff_sample_size", Signal::kEss},
    {"rollout_corr/eff_sample_size", Signal::kEss},
    // TRL.
    {"kl", Signal::kReferenceKl},
    {"objective/kl", Signal::kReferenceKl},
    {"policy/approxkl_avg", Signal::kUpdateKl},
    {"clip_ratio", Signal::kClipFraction},
    {"clip_ratio/region_mean", Signal::kClipFraction},
    {"policy/clipfrac_avg", Signal::kClipFraction},
    {"entropy", Signal::kEntropy},
    {"policy/entropy_avg", Signal::kEntropy},
    {"objective/scores", Signal::kScore},
    {"reward", Signal::kReward},
    {"objective/rlhf_reward", Signal::kReward},
    {"frac_reward_zero_std", Signal::kRewardZeroStd},
    {"completions/mean_length", Signal::kResponseLength},
    {"completions/mean_terminated_length", Signal::kResponseLength},
    {"completions/clipped_ratio", Signal::kLengthClip},
    {"eval_reward", Signal::kEval},
    {"sampling/importance_sampling_ratio/mean", Signal::kIsMean},
    // OpenRLHF.
    {"ppo_kl", Signal::kUpdateKl},
    {"ppo_clip_ratio", Signal::kClipFraction},
    {"entropy_loss", Signal::kEntropy},
    {"return", Signal::kReward},
    {"response_length", Signal::kResponseLength},
    {"vllm_kl", Signal::kMismatchKl},
};

// verl names an evaluation after its data set and its sampling:
// val-core/gsm8k/acc/mean@1, val-aux/aime_2024/reward/mean@16,
// val/test_score/gsm8k. A deviation or a best-of-N is no score.
bool IsEvaluation(std::string_view name) {
  if (name.starts_with("val/test_score/")) return true;
  if (!name.starts_with("val-core/") && !name.starts_with("val-aux/")) {
    return false;
  }
  const std::size_t last = name.rfind('/');
  return name.substr(last + 1).starts_with("mean@");
}

}  // namespace

bool FindAlias(std::string_view name, AliasMatch* match) {
  // TRL prefixes what it logs while training.
  if (name.starts_with("train/")) name.remove_prefix(6);
  for (std::size_t i = 0; i < std::size(kAliases); ++i) {
    if (kAliases[i].name == name) {
      *match = {kAliases[i].signal, static_cast<int>(i)};
      return true;
    }
  }
  if (!IsEvaluation(name)) return false;
  *match = {Signal::kEval, static_cast<int>(std::size(kAliases))};
  return true;
}

SignalValues::SignalValues() {
  values.fill(std::numeric_limits<double>::quiet_NaN());
}

bool SignalValues::Has(Signal s) const { return !std::isnan((*this)[s]); }

SignalValues SignalReader::Read(std::span<const std::string> names,
                                std::span<const double> values) {
  if (!std::ranges::equal(names, names_)) Learn(names);
  SignalValues result;
  for (std::size_t s = 0; s < kSignals; ++s) {
    for (const std::size_t i : sources_[s]) {
      if (i >= values.size() || !std::isfinite(values[i])) continue;
      result.values[s] = values[i];
      break;
    }
  }
  return result;
}

void SignalReader::Learn(std::span<const std::string> names) {
  names_.assign(names.begin(), names.end());
  std::array<std::vector<std::pair<int, std::size_t>>, kSignals> found;
  for (std::size_t i = 0; i < names.size(); ++i) {
    AliasMatch match;
    if (!FindAlias(names[i], &match)) continue;
    found[static_cast<std::size_t>(match.signal)].emplace_back(match.preference,
                                                               i);
  }
  for (std::size_t s = 0; s < kSignals; ++s) {
    std::ranges::sort(found[s]);
    sources_[s].clear();
    for (const auto& [preference, i] : found[s]) sources_[s].push_back(i);
  }
}

}  // namespace steadyrun
