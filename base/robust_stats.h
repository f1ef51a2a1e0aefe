#pragma once

#include <span>
#include <vector>

namespace steadyrun {

// Median of `values`; the lower-middle/upper-middle mean for an even count.
// NaNs are skipped; 0 for no values. Reorders `values`. O(n).
double MedianInPlace(std::span<double> values);
double Median(std::vector<double> values);

// 1.4826 * median(|x - center|): estimates sigma of a normal. Reorders.
double MadInPlace(std::span<double> values, double center);

// The q-quantile (0..1) by nearest rank. NaNs are skipped; 0 for no values.
double Quantile(std::vector<double> values, double q);

}  // namespace steadyrun
