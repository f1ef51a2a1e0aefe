#pragma once

// What the frameworks call the signals of reinforcement learning.

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace steadyrun {

enum class Signal {
  kReferenceKl,     // Policy against its frozen reference.
  kUpdateKl,        // Policy against the one that made the rollout.
  kClipFraction,    // Share of tokens whose ratio the objective clips.
  kEntropy,         // Mean entropy of the policy, nats a token.
  kScore,           // The task's own reward, before penalties.
  kReward,          // What is optimised, penalties included.
  kRewardZeroStd,   // Share of prompts all of whose answers score alike.
  kResponseLength,  // Mean, tokens.
  kLengthClip,      // Share of responses cut at the limit.
  kEval,            // Held-out score; reported now and then.
  kMismatchKl,      // Rollout against train engine, nats a token.
  kMismatchDiff,    // Mean difference of the two engines' probabilities.
  kMismatchChi2,    // Chi-square divergence a token.
  kIsMean,          // Mean importance weight.
  kIsStd,           // Its deviation.
  kEss,             // Effective sample size, as a share.
};
inline constexpr std::size_t kSignals =
    static_cast<std::size_t>(Signal::kEss) + 1;

struct AliasMatch {
  Signal signal;
  // Of several reported names of one signal the lowest is taken.
  int preference = 0;
};
// False when `name` is no signal. Pure, allocates nothing.
bool FindAlias(std::string_view name, AliasMatch* match);

// Values by signal; NaN: not reported (a NaN of a framework's RL metric means
// that it had nothing to average).
struct SignalValues {
  std::array<double, kSignals> values;
  SignalValues();
  double operator[](Signal s) const {
    return values[static_cast<std::size_t>(s)];
  }
  bool Has(Signal s) const;
};

// Picks the signals out of named metrics. Remembers the last list of names,
// which seldom changes, so that a point costs comparisons and no look-ups.
class SignalReader {
 public:
  // `names[i]` has `values[i]`.
  SignalValues Read(std::span<const std::string> names,
                    std::span<const double> values);

 private:
  void Learn(std::span<const std::string> names);

  std::vector<std::string> names_;
  // By signal, indexes into the names, best first.
  std::array<std::vector<std::size_t>, kSignals> sources_;
};

}  // namespace steadyrun
