#include "tests/bench/score/plain_rules.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "base/robust_stats.h"

namespace steadyrun::bench {
namespace {

// mean + k deviations of the last 128 (OLMo-core's SkipStep with 6).
class SigmaRule final : public PlainRule {
 public:
  SigmaRule(double sigmas, bool of_loss, std::string name, std::string used_by)
      : PlainRule(
            std::move(name), std::move(used_by),
            of_loss ? IncidentKind::kLossSpike : IncidentKind::kGradExplosion),
        sigmas_(sigmas),
        of_loss_(of_loss) {}

  void Begin() override {
    PlainRule::Begin();
    window_.clear();
  }

  void Observe(const StepRow& row, double seconds) override {
    const double value = of_loss_ ? row.loss : row.grad_norm;
    if (!std::isfinite(value)) return;
    if (window_.size() >= kWindow / 2) {  // As SkipStep needs.
      double sum = 0;
      double squares = 0;
      for (const double x : window_) {
        sum += x;
        squares += x * x;
      }
      const auto n = static_cast<double>(window_.size());
      const double mean = sum / n;
      const double deviation =
          std::sqrt(std::max(0.0, squares / n - mean * mean));
      if (value > mean + sigmas_ * deviation) Raise(row, seconds);
    }
    window_.push_back(value);
    if (window_.size() > kWindow) window_.pop_front();
  }

 private:
  static constexpr std::size_t kWindow = 128;
  const double sigmas_;
  const bool of_loss_;
  std::deque<double> window_;
};

// Ten times the largest of the first 100 (Megatron is_unexpectedly_large).
class TenTimesRule final : public PlainRule {
 public:
  explicit TenTimesRule(bool of_loss)
      : PlainRule(
            of_loss ? "loss > 10 x maximum of the first 100"
                    : "gradient norm > 10 x maximum of the first 100",
            "Megatron-LM",
            of_loss ? IncidentKind::kLossSpike : IncidentKind::kGradExplosion),
        of_loss_(of_loss) {}

  void Begin() override {
    PlainRule::Begin();
    seen_ = 0;
    most_ = 0;
  }

  void Observe(const StepRow& row, double seconds) override {
    const double value = of_loss_ ? row.loss : row.grad_norm;
    if (!std::isfinite(value)) return;
    if (seen_ < kSamples) {
      ++seen_;
      most_ = std::max(most_, std::abs(value));
    } else if (value > 10 * most_) {
      Raise(row, seconds);
    }
  }

 private:
  static constexpr int kSamples = 100;
  const bool of_loss_;
  int seen_ = 0;
  double most_ = 0;
};

// ZClip: EMA of mean and variance of the gradient norm, alpha 0.97, z > 2.5,
// 25 steps to warm up; clipped values enter the averages.
class ZClipRule final : public PlainRule {
 public:
  ZClipRule()
      : PlainRule("gradient norm, z > 2.5 of its EMA", "ZClip",
                  IncidentKind::kGradExplosion) {}

  void Begin() override {
    PlainRule::Begin();
    warm_up_.clear();
    mean_.reset();
  }

  void Observe(const StepRow& row, double seconds) override {
    double value = row.grad_norm;
    if (!std::isfinite(value)) return;
    if (!mean_.has_value()) {
      warm_up_.push_back(value);
      if (warm_up_.size() < 25) return;
      double sum = 0;
      for (const double x : warm_up_) sum += x;
      mean_ = sum / 25;
      variance_ = 0;
      for (const double x : warm_up_) {
        variance_ += (x - *mean_) * (x - *mean_) / 25;
      }
      return;
    }
    const double deviation = std::sqrt(variance_) + 1e-12;
    const double z = (value - *mean_) / deviation;
    if (z > kLimit) {
      Raise(row, seconds);
      value = *mean_ + kLimit * deviation / (z / kLimit);
    }
    mean_ = kAlpha * *mean_ + (1 - kAlpha) * value;
    variance_ =
        kAlpha * variance_ + (1 - kAlpha) * (value - *mean_) * (value - *mean_);
  }

 private:
  static constexpr double kAlpha = 0.97;
  static constexpr double kLimit = 2.5;
  std::vector<double> warm_up_;
  std::optional<double> mean_;
  double variance_ = 0;
};

// A rank's compute time in one step against its peers'.
class RankRule final : public PlainRule {
 public:
  // Limit: median x `factor` + `sigmas` x MAD.
  RankRule(double factor, double sigmas, std::string name, std::string used_by)
      : PlainRule(std::move(name), std::move(used_by),
                  IncidentKind::kStraggler),
        factor_(factor),
        sigmas_(sigmas) {}

  void Observe(const StepRow& row, double seconds) override {
    std::span<const float> compute;
    const auto world = static_cast<std::size_t>(row.world_size);
    for (std::size_t m = 0; m < row.metrics.size(); ++m) {
      if (row.metrics[m] !=
          static_cast<std::uint32_t>(Metric::kComputeSeconds)) {
        continue;
      }
      compute = {row.values.data() + m * world, world};
    }
    values_.clear();
    for (const float x : compute) {
      if (std::isfinite(x)) values_.push_back(x);
    }
    if (values_.size() < 4) return;
    const double median = MedianInPlace(values_);
    const double limit =
        factor_ * median +
        (sigmas_ > 0 ? sigmas_ * MadInPlace(values_, median) : 0);
    for (std::size_t r = 0; r < compute.size(); ++r) {
      if (compute[r] > limit) {
        Raise(row, seconds, Rank{static_cast<std::int32_t>(r)});
      }
    }
  }

 private:
  const double factor_;
  const double sigmas_;
  std::vector<double> values_;
};

}  // namespace

void PlainRule::Raise(const StepRow& row, double seconds, Rank rank) {
  const auto [last, is_first] =
      last_.try_emplace(rank.value, row.step.value - kQuietSteps - 1);
  const bool is_quiet = row.step.value - last->second > kQuietSteps;
  last->second = row.step.value;
  if (!is_first && !is_quiet) return;
  replay::Alarm alarm;
  alarm.kind = kind_;
  alarm.step = row.step;
  alarm.seconds = seconds;
  if (rank != kNoRank) alarm.suspects = {{"", rank}};
  alarms_.push_back(std::move(alarm));
}

std::vector<std::unique_ptr<PlainRule>> AllPlainRules() {
  std::vector<std::unique_ptr<PlainRule>> rules;
  rules.push_back(std::make_unique<SigmaRule>(
      3, true, "loss > mean + 3 sigma of 128", "fixed 3 sigma"));
  rules.push_back(std::make_unique<SigmaRule>(
      6, true, "loss > mean + 6 sigma of 128", "OLMo-core"));
  rules.push_back(std::make_unique<TenTimesRule>(true));
  rules.push_back(std::make_unique<SigmaRule>(
      3, false, "gradient norm > mean + 3 sigma of 128", "fixed 3 sigma"));
  rules.push_back(std::make_unique<SigmaRule>(
      6, false, "gradient norm > mean + 6 sigma of 128", "OLMo-core"));
  rules.push_back(std::make_unique<TenTimesRule>(false));
  rules.push_back(std::make_unique<ZClipRule>());
  rules.push_back(std::make_unique<RankRule>(
      1, 3, "rank's compute > median + 3 MAD, one step", "fixed 3 sigma"));
  rules.push_back(std::make_unique<RankRule>(
      1, 6, "rank's compute > median + 6 MAD, one step", "fixed 6 sigma"));
  rules.push_back(std::make_unique<RankRule>(
      2, 0, "rank's compute > 2 x median, one step", "DLRover"));
  return rules;
}

}  // namespace steadyrun::bench
