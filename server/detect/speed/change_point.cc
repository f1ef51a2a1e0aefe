#include "server/detect/speed/change_point.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace steadyrun {
namespace {

constexpr double kHazard = 1.0 / 250;
// The prior's mean counts for a hundredth of a value: a new level may be
// anywhere within some ten sigmas.
constexpr double kPriorKappa = 0.01;
constexpr double kPriorAlpha = 1;

// lgamma(alpha + 1/2) - lgamma(alpha). Stirling's series in 1/alpha: exact to
// 1e-6 from alpha = 1 on, and no call of lgamma, which is not thread-safe.
double LogGammaStep(double alpha) {
  const double i = 1 / (alpha + 3);
  // Shifted by 3, where the series has converged: Gamma(x + 1) = x Gamma(x).
  double log = 0.5 * std::log(alpha + 3) - i / 8 + i * i * i / 192;
  for (int k = 0; k < 3; ++k) {
    log += std::log((alpha + k) / (alpha + k + 0.5));
  }
  return log;
}

// By run length: alpha grows by a half a value, so it need not be computed for
// each run at each value.
const std::array<double, ChangePoint::kMost + 1>& LogGammaSteps() {
  static const auto steps = [] {
    std::array<double, ChangePoint::kMost + 1> table{};
    for (std::size_t n = 0; n < table.size(); ++n) {
      table[n] = LogGammaStep(kPriorAlpha + 0.5 * static_cast<double>(n));
    }
    return table;
  }();
  return steps;
}

}  // namespace

ChangePoint::Run ChangePoint::Prior(double value) const {
  return {1, value, kPriorKappa, kPriorAlpha, sigma_ * sigma_};
}

void ChangePoint::Add(double value) {
  if (size_ == 0) {
    runs_[0] = Prior(value);
    runs_[0].kappa += 1;
    runs_[0].alpha += 0.5;
    size_ = 1;
    return;
  }
  // A new level is drawn around the old one's mean.
  std::array<double, kMost> logs{};
  double top = -1e300;
  // `length`: the values the run has seen.
  const auto predict = [&](const Run& run, std::size_t length) {
    const double nu = 2 * run.alpha;
    const double scale2 = run.beta * (run.kappa + 1) / (run.alpha * run.kappa);
    const double z2 = (value - run.mean) * (value - run.mean) / scale2;
    return LogGammaSteps()[length] -
           0.5 * std::log(nu * std::numbers::pi * scale2) -
           (run.alpha + 0.5) * std::log1p(z2 / nu);
  };
  for (std::size_t i = 0; i < size_; ++i) {
    logs[i] = std::log(runs_[i].probability) + predict(runs_[i], i + 1);
    top = std::max(top, logs[i]);
  }
  double mean = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    mean += runs_[i].probability * runs_[i].mean;
  }
  Run fresh = Prior(mean);
  // Where the old level says "nearly impossible", the new one may not: both
  // are needed on one scale.
  const double fresh_log = predict(fresh, 0);
  top = std::max(top, fresh_log);
  const auto update = [&](Run run, double probability) {
    const double gain = value - run.mean;
    run.beta += run.kappa * gain * gain / (2 * (run.kappa + 1));
    run.mean += gain / (run.kappa + 1);
    run.kappa += 1;
    run.alpha += 0.5;
    run.probability = probability;
    return run;
  };
  // The value belongs to the new level, or to the old one.
  const Run first = update(fresh, kHazard * std::exp(fresh_log - top));
  const std::size_t kept = std::min(size_, kMost - 1);
  double folded = 0;
  if (size_ == kMost) {
    folded = (1 - kHazard) * std::exp(logs[kMost - 1] - top);
  }
  for (std::size_t i = kept; i-- > 0;) {
    runs_[i + 1] = update(runs_[i], (1 - kHazard) * std::exp(logs[i] - top));
  }
  runs_[0] = first;
  size_ = kept + 1;
  if (size_ == kMost) runs_[kMost - 1].probability += folded;
  double sum = 0;
  for (std::size_t i = 0; i < size_; ++i) sum += runs_[i].probability;
  for (std::size_t i = 0; i < size_; ++i) {
    // Not zero: a run length that was impossible may be the one later.
    runs_[i].probability = std::max(runs_[i].probability / sum, 1e-300);
  }
}

double ChangePoint::Recent(std::size_t values) const {
  double sum = 0;
  for (std::size_t i = 0; i < std::min(values, size_); ++i) {
    sum += runs_[i].probability;
  }
  return sum;
}

std::size_t ChangePoint::LikeliestLength() const {
  if (size_ == 0) return 0;
  const auto likeliest = std::max_element(
      runs_.begin(), runs_.begin() + static_cast<std::ptrdiff_t>(size_),
      [](const Run& a, const Run& b) { return a.probability < b.probability; });
  return static_cast<std::size_t>(likeliest - runs_.begin()) + 1;
}

}  // namespace steadyrun
