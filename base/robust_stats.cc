#include "base/robust_stats.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace steadyrun {
namespace {

std::span<double> DropNans(std::span<double> values) {
  const auto end = std::partition(values.begin(), values.end(),
                                  [](double v) { return !std::isnan(v); });
  return values.first(static_cast<std::size_t>(end - values.begin()));
}

}  // namespace

double MedianInPlace(std::span<double> values) {
  values = DropNans(values);
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double Median(std::vector<double> values) { return MedianInPlace(values); }

double MadInPlace(std::span<double> values, double center) {
  for (double& v : values) v = std::abs(v - center);
  return 1.4826 * MedianInPlace(values);
}

double Quantile(std::vector<double> values, double q) {
  const auto kept = DropNans(values);
  if (kept.empty()) return 0;
  const auto index = static_cast<long>(
      std::clamp(q, 0.0, 1.0) * static_cast<double>(kept.size() - 1) + 0.5);
  std::nth_element(kept.begin(), kept.begin() + index, kept.end());
  return kept[static_cast<std::size_t>(index)];
}

}  // namespace steadyrun
