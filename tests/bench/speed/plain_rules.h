#pragma once

// What others ship, on the same rows: rules that look at one step, or at each
// rank's median of 20, and compare with a fixed number.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/fast_median.h"

namespace steadyrun::bench {

class PlainRules {
 public:
  struct Rule {
    std::string name;
    std::uint64_t alarms = 0;  // Of healthy ranks, each step and rank one.
    bool is_found = false;     // The slow rank, since Arm().
    double delay = 0;
    std::uint64_t found = 0;
    std::vector<double> delays;
  };

  PlainRules() {
    for (const char* name :
         {"single step, z > 3 (MAD)", "single step, z > 6 (MAD)",
          "single step, 2 x median", "median of 20, speed < 0.75 of median"}) {
      rules.emplace_back().name = name;
    }
  }

  void Reset(std::size_t ranks) {
    history_.assign(ranks * kWindow, 0);
    rows_ = 0;
  }
  // The slow rank and how many steps it has been slow; negative: healthy.
  void Observe(const std::vector<float>& compute, std::size_t slow_rank,
               double slow_for) {
    const std::size_t n = compute.size();
    const float median = FastMedian(compute, &scratch_);
    const float mad = FastMad(compute, median, &scratch_);
    const float limits[] = {median + 3 * mad, median + 6 * mad, 2 * median};
    for (std::size_t k = 0; k < 3; ++k) {
      for (std::size_t r = 0; r < n; ++r) {
        if (compute[r] > limits[k]) Alarm(rules[k], r, slow_rank, slow_for);
      }
    }
    // The window is asked when it is full, as the product does.
    std::copy(
        compute.begin(), compute.end(),
        history_.begin() + static_cast<std::ptrdiff_t>(rows_ % kWindow * n));
    if (++rows_ % kWindow != 0) return;
    std::vector<float> window(kWindow);
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t i = 0; i < kWindow; ++i) {
        window[i] = history_[i * n + r];
      }
      if (median / FastMedian(window, &scratch_) < 0.75f) {
        Alarm(rules[3], r, slow_rank, slow_for);
      }
    }
  }
  void EndTrial() {
    for (Rule& rule : rules) {
      if (rule.is_found) {
        ++rule.found;
        rule.delays.push_back(rule.delay);
      }
      rule.is_found = false;
    }
  }

  std::vector<Rule> rules;

 private:
  static constexpr std::size_t kWindow = 20;

  static void Alarm(Rule& rule, std::size_t rank, std::size_t slow_rank,
                    double slow_for) {
    if (rank != slow_rank || slow_for < 0) {
      ++rule.alarms;
    } else if (!rule.is_found) {
      rule.is_found = true;
      rule.delay = slow_for;
    }
  }

  std::vector<float> history_;
  std::size_t rows_ = 0;
  MedianScratch scratch_;
};

}  // namespace steadyrun::bench
