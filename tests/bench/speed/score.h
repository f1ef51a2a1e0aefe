#pragma once

// Counts of a detector's trials and what is printed of them.

#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/robust_stats.h"

namespace steadyrun::bench {

// Wilson's 95 % interval of a share.
inline std::string Wilson(std::uint64_t good, std::uint64_t all) {
  if (all == 0) return "-";
  const double n = static_cast<double>(all);
  const double p = static_cast<double>(good) / n;
  const double z2 = 1.96 * 1.96;
  const double center = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half =
      1.96 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);
  return fmt::format("{:.2f} % [{:.2f}, {:.2f}]", 100 * p,
                     100 * std::fmax(0, center - half),
                     100 * std::fmin(1, center + half));
}

struct Score {
  std::uint64_t trials = 0;
  std::uint64_t found = 0;  // In time, with the right culprit.
  std::uint64_t false_findings = 0;
  std::vector<double> delays;  // Of those that were found, in steps.

  void Found(double delay) {
    ++found;
    delays.push_back(delay);
  }
  double F1() const {
    const double wrong = static_cast<double>(false_findings + trials - found);
    const double right = 2 * static_cast<double>(found);
    return right + wrong > 0 ? right / (right + wrong) : 0;
  }
  void Print(const std::string& what) const {
    fmt::print(
        "  {:<34} recall {:<26} false {:<6} F1 {:.4f}  delay p50 {:.0f} p95 "
        "{:.0f} max {:.0f} steps\n",
        what, Wilson(found, trials), false_findings, F1(),
        Quantile(delays, 0.5), Quantile(delays, 0.95), Quantile(delays, 1));
  }
};

}  // namespace steadyrun::bench
